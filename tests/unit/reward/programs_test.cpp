// SPDX-License-Identifier: Apache-2.0
// Rewards of programs, through the sandbox.
#include <chrono>

#include "tests/unit/reward/tools.hpp"

namespace {

using namespace reward_test;
using reward::Rules;

const std::string kSandbox =
    "[sandbox]\nrequire = \"best\"\nwall = \"4s\"\ncpu = 1\nmemory = \"256Mi\"\nprocesses = 16\n";
const std::string kRule = "[[reward]]\nname = \"tests\"\nkind = \"program\"\n";

std::vector<reward::Scores> score(const std::string &deck, const std::string &problem,
                                  const std::vector<std::string> &answers) {
  const data::Json row = data::Json::parse(problem);
  const Rules rules(options(deck + kSandbox));
  rules.check_machine();
  std::vector<reward::Item> items;
  for (const auto &answer : answers) items.push_back(item(row, answer));
  return rules.score(items);
}

TEST(Programs, TestsInTheProblem) {
  const std::string problem =
      R"({"tests": ["assert f(2) == 4", "assert f(3) == 9", "assert f(-1) == 1"]})";
  const std::vector<std::string> answers = {
      "Squares:\n```python\ndef f(x): return 0\n```\nBetter:\n```python\ndef f(x):\n    return x * "
      "x\n```\n",
      "```python\ndef f(x): return 2 * x\n```", "```python\ndef f(x:\n```", "", "```\n\n```"};
  const auto all = score(kRule, problem, answers);
  EXPECT_EQ(all[0].total, 1) << all[0].notes[0];
  EXPECT_TRUE(all[0].correct);
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_EQ(all[i].total, 0) << all[i].notes[0];
  EXPECT_NE(all[1].notes[0].find("AssertionError"), std::string::npos) << all[1].notes[0];
  EXPECT_EQ(all[3].notes[0], "no code");
  const auto shares = score(kRule + "partial = true\n", problem, answers);
  EXPECT_EQ(shares[0].total, 1);
  EXPECT_DOUBLE_EQ(shares[1].total, 1.0 / 3);
  EXPECT_FALSE(shares[1].correct);
  EXPECT_NE(shares[1].notes[0].find("1 of 3 passed"), std::string::npos) << shares[1].notes[0];
}

TEST(Programs, LeavingEarlyIsNotPassing) {
  const std::string problem = R"({"tests": "assert f(2) == 4"})";
  for (const char *code : {"import sys\nsys.exit(0)", "import os\nos._exit(0)", "raise SystemExit",
                           "import os, signal\nos.kill(os.getpid(), 9)", "print('end')\nquit()"})
    EXPECT_EQ(score(kRule, problem, {std::string("```\n") + code + "\n```"})[0].total, 0) << code;
  EXPECT_EQ(
      score(kRule + "language = \"sh\"\n", R"({"tests": "test $x = 1"})", {"x=1", "x=2; exit 0"})[1]
          .total,
      0);
  EXPECT_EQ(score(kRule + "language = \"sh\"\n", R"({"tests": "test $x = 1"})", {"x=1"})[0].total,
            1);
}

TEST(Programs, CasesOfInputAndOutput) {
  const std::string problem =
      R"({"cases": "[{\"input\": \"1 2\\n\", \"output\": \"3\\n\"}, {\"input\": \"10 -4\\n\", \"output\": 6}]"})";
  const std::string rule = kRule + "cases = \"cases\"\n";
  const auto all = score(rule, problem,
                         {"```\nprint(sum(map(int, input().split())))\nexit(0)\n```", "print(3)"});
  EXPECT_EQ(all[0].total, 1) << all[0].notes[0];
  EXPECT_EQ(all[1].total, 0);
  EXPECT_EQ(score(rule + "partial = true\n", problem, {"print(3)"})[0].total, 0.5);
}

TEST(Programs, HostileAnswersCostTimeAndNoMore) {
  const std::string problem = R"({"tests": "assert f(2) == 4"})";
  const auto begin = std::chrono::steady_clock::now();
  const auto all =
      score(kRule, problem,
            {"while True: pass", "import time\ntime.sleep(100)",
             "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
             "while True: print('x' * 1000)", "x = bytes(1 << 40)", "def f(x): return 4"});
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 40);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(all[static_cast<std::size_t>(i)].total, 0);
  EXPECT_EQ(all[5].total, 1) << all[5].notes[0];
  EXPECT_NE(all[1].notes[0].find("limit of time"), std::string::npos) << all[1].notes[0];
  EXPECT_NE(all[3].notes[0].find("limit of output"), std::string::npos) << all[3].notes[0];
}

TEST(Programs, CodeBeforeAndBadLanguages) {
  EXPECT_EQ(score(kRule + "before = \"prompt\"\n",
                  R"({"prompt": "def f(x):\n", "tests": "assert f(2) == 4"})",
                  {"    return x * x"})[0]
                .total,
            1);
  expect_error([] { score(kRule + "language = \"cobol\"\n", R"({"tests": "x"})", {"x"}); }, "E343",
               "cobol");
}

} // namespace

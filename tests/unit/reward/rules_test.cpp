// SPDX-License-Identifier: Apache-2.0
// Every kind of rule, alone and together, and what is refused.
#include <chrono>
#include <cmath>

#include "reward/columns.hpp"
#include "reward/show.hpp"
#include "tests/unit/reward/tools.hpp"

namespace {

using namespace reward_test;
using reward::Item, reward::Rules;

std::string rule(const std::string &kind, const std::string &more = "",
                 const std::string &name = "r") {
  return "[[reward]]\nname = \"" + name + "\"\nkind = \"" + kind + "\"\n" + more + "\n";
}

TEST(Rules, Math) {
  const std::string problem =
      R"({"answer": "48", "all": ["7", 48], "derived": "4*12 = 48\n#### 1,048"})";
  EXPECT_EQ(value(rule("math"), problem, "so \\boxed{48.0} it is, of 100"), 1);
  EXPECT_EQ(value(rule("math"), problem, "first \\boxed{48}, no, \\boxed{49}"), 0)
      << "the last one counts";
  EXPECT_EQ(value(rule("math"), problem, "4 * 12 = 48"), 1);
  EXPECT_EQ(value(rule("math", "find = \"boxed\""), problem, "4 * 12 = 48"), 0);
  EXPECT_EQ(value(rule("math", "truth = \"all\""), problem, "7"), 1);
  EXPECT_EQ(value(rule("math", "truth = \"derived\""), problem, "1048"), 1);
  EXPECT_EQ(value(rule("math", "find = \"pattern\"\npattern = '<answer>\\K[^<]+'"), problem,
                  "5 <answer> 48 </answer> 6"),
            1);
  EXPECT_EQ(value(rule("math"), problem, ""), 0);
  EXPECT_EQ(value(rule("math"), problem, "\\boxed{48"), 1) << "never closed: the last number";
}

TEST(Rules, ExactAndContains) {
  const std::string problem = R"({"answer": ["Heron", "a heron"]})";
  EXPECT_EQ(value(rule("exact"), problem, " Heron\n"), 1);
  EXPECT_EQ(value(rule("exact"), problem, "heron"), 0);
  EXPECT_EQ(value(rule("exact", "ignore_case = true"), problem, "heron"), 1);
  EXPECT_EQ(value(rule("exact", "find = \"last_line\""), problem, "It is\na heron"), 1);
  EXPECT_EQ(value(rule("contains"), problem, "It is a heron."), 1);
  EXPECT_EQ(value(rule("contains"), problem, "It is an owl."), 0);
}

TEST(Rules, Format) {
  const std::string tags = "pattern = '(?s)<think>.+</think>\\s*<answer>.+</answer>'";
  EXPECT_EQ(value(rule("format", tags), "{}", "<think>a\nb</think>\n<answer>7</answer>"), 1);
  EXPECT_EQ(value(rule("format", tags), "{}", "x <think>a</think><answer>7</answer>"), 0);
  EXPECT_EQ(value(rule("format", tags + "\nmatch = \"part\""), "{}",
                  "x <think>a</think><answer>7</answer>"),
            1);
  EXPECT_EQ(value(rule("format", tags), "{}", "\xff\xfe"), 0) << "bytes that are no text";
}

// What a reward model is shown, and rules for steps.
TEST(Rules, AModelIsShownFields) {
  const data::Json problem = data::Json::parse(R"({"prompt": "1 + 1?", "truth": 2})");
  reward::RuleOptions shows;
  shows.name = "r", shows.show = "{{prompt}}\nReference: {{ truth }}.";
  EXPECT_EQ(reward::shown(shows, problem, "p"), "1 + 1?\nReference: 2.");
  shows.show = "{{answer}}";
  expect_error([&] { reward::shown(shows, problem, "p"); }, "E333", "answer");
  const auto refused = [](const std::string &show, const std::string &text) {
    expect_error([&] { options(rule("model", "model = \"m\"\nshow = '" + show + "'")); }, "E331",
                 text);
  };
  refused("{{prompt", "without }}");
  refused("{{ }}", "name");
  refused("all the same", "no {{field}}");
  const Rules rules(options(rule("model", "model = \"m\"\nshow = '{{missing}}'")));
  expect_error([&] { rules.check_problem(problem, "p:1"); }, "E333", "missing");
}

TEST(Rules, OfStepsAndOfAnswers) {
  const auto all = options(rule("math") + rule("exact", "per = \"step\"", "s"));
  ASSERT_EQ(reward::with(all, reward::Per::step).rules.size(), 1U);
  EXPECT_EQ(reward::with(all, reward::Per::step).rules[0].name, "s");
  EXPECT_EQ(reward::with(all, reward::Per::answer).rules[0].name, "r");
  expect_error([&] { reward::require_plain(all, "deck"); }, "E359", "[[reward]] s");
  const auto asks = options(rule("model", "model = \"m\""));
  expect_error([&] { reward::require_plain(asks, "deck"); }, "E334", "phase grpo only");
  expect_error([] { options(rule("vote", "per = \"step\"")); }, "E331", "whole answers");
  expect_error(
      [] {
        options(rule("math") +
                rule("length", "per = \"step\"\nlimit = 9\nonly_correct = true", "s"));
      },
      "E331", "No rule says what is correct");
}

TEST(Rules, APatternThatTakesForEver) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(value(rule("format", "pattern = '(a+a+)+[cd]'"), "{}", std::string(4000, 'a')), 0);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(), 5);
  const reward::Pattern slow("(x+x+)+[yz]", false);
  EXPECT_EQ(slow.test(std::string(3000, 'x')), reward::Pattern::Verdict::too_hard);
}

TEST(Rules, Length) {
  const std::string keys = "free = 100\nlimit = 200\npenalty = 0.5";
  for (const auto &[tokens, wanted] :
       {std::pair{0, 0.0}, {100, 0.0}, {150, -0.25}, {200, -0.5}, {999, -0.5}})
    EXPECT_DOUBLE_EQ(value(rule("length", keys), "{}", "x", static_cast<std::size_t>(tokens)),
                     wanted)
        << tokens;
}

TEST(Rules, LengthOfCorrectAnswersOnly) {
  const data::Json problem = data::Json::parse(R"({"answer": 4})");
  const Rules rules(
      options(rule("math", "weight = 2", "right") +
              rule("length", "free = 10\nlimit = 20\nonly_correct = true\nweight = 0.5", "short")));
  const auto scores =
      rules.score({item(problem, "4", 15), item(problem, "5", 15), item(problem, "4", 5)});
  EXPECT_EQ(scores[0].parts, (std::vector<double>{1, -0.5}));
  EXPECT_DOUBLE_EQ(scores[0].total, 1.75);
  EXPECT_TRUE(scores[0].correct);
  EXPECT_EQ(scores[1].parts, (std::vector<double>{0, 0}));
  EXPECT_FALSE(scores[1].correct);
  EXPECT_DOUBLE_EQ(scores[2].total, 2);
}

TEST(Rules, StyleTerms) {
  EXPECT_EQ(reward::repetition_value({1, 2, 3, 1, 2, 3}, 3), -0.25)
      << "one of four runs is seen again";
  EXPECT_EQ(reward::repetition_value({5, 5, 5, 5, 5}, 1), -0.8);
  EXPECT_EQ(reward::repetition_value({1, 2}, 3), 0);
  EXPECT_EQ(reward::repetition_value({}, 1), 0);
  const std::vector<data::Token> endless(200000, 7);
  EXPECT_NEAR(reward::repetition_value(endless, 64), -1, 1e-4);
  EXPECT_DOUBLE_EQ(value(rule("language"), "{}", "abcd 12 \u4f60\u597d"), 4.0 / 6);
  EXPECT_DOUBLE_EQ(value(rule("language", "script = \"cjk\""), "{}", "ab \u4f60\u597d"), 0.5);
  EXPECT_EQ(value(rule("language"), "{}", "12 + 3"), 1);
  EXPECT_EQ(value(rule("language"), "{}", "\u0414\u0430"), 0);
  EXPECT_EQ(value(rule("ended"), "{}", "x", 3, true), 1);
  EXPECT_EQ(value(rule("ended"), "{}", "x", 3, false), 0);
}

TEST(Rules, Votes) {
  const data::Json problem = data::Json::parse("{}");
  std::vector<Item> items;
  for (const char *answer : {"\\boxed{3}", "it is 3.0", "4", "none"})
    items.push_back(item(problem, answer, 1, true, 1));
  for (const char *answer : {"8", "9"}) items.push_back(item(problem, answer, 1, true, 2));
  const auto with = [&](const std::string &more) {
    std::vector<double> all;
    for (const auto &one : Rules(options(rule("vote", more))).score(items))
      all.push_back(one.total);
    return all;
  };
  EXPECT_EQ(with(""), (std::vector<double>{1, 1, 0, 0, 1, 0}));
  EXPECT_EQ(with("quorum = 0.51"), (std::vector<double>{0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(with("quorum = 0.5"), (std::vector<double>{1, 1, 0, 0, 1, 0}));
}

struct Critic : reward::Outside {
  double what = 0.25;
  std::vector<double> model(const reward::RuleOptions &rule,
                            const std::vector<Item> &items) override {
    EXPECT_EQ(rule.model, "runs/judge");
    return std::vector<double>(items.size(), what);
  }
};

TEST(Rules, AModelOutside) {
  const data::Json problem = data::Json::parse("{}");
  const Rules rules(options(rule("model", "model = \"runs/judge\"\nweight = 2")));
  EXPECT_FALSE(rules.has_judge());
  Critic critic;
  EXPECT_DOUBLE_EQ(rules.score({item(problem, "x")}, &critic).at(0).total, 0.5);
  EXPECT_FALSE(rules.score({item(problem, "x")}, &critic).at(0).correct);
  expect_error([&] { rules.score({item(problem, "x")}); }, "E334", "reward model");
  critic.what = std::nan("");
  expect_error([&] { rules.score({item(problem, "x")}, &critic); }, "E334", "file.jsonl:7");
}

TEST(Rules, DecksThatAreRefused) {
  const auto refused = [](const std::string &deck, const char *number, const char *text) {
    expect_error([&] { options(deck); }, number, text);
  };
  refused("", "E330", "[[reward]]");
  refused(rule("math") + rule("exact"), "E330", "Two rules");
  refused(rule("math", "", "a b"), "E330", "a b");
  refused(rule("meth"), "E331", "did you mean math");
  refused("[[reward]]\nname = \"r\"\n", "E009", "kind");
  refused(rule("math", "wieght = 2"), "E005", "weight");
  refused(rule("math", "weight = inf"), "E006", "weight");
  refused(rule("math", "weight = nan"), "E006", "weight");
  refused(rule("math", "weight = 1e9"), "E007", "weight");
  refused(rule("math", "ngram = 3"), "E331", "ngram");
  refused(rule("ended", "truth = \"x\""), "E331", "truth");
  refused(rule("format"), "E331", "pattern");
  refused(rule("math", "find = \"pattern\""), "E331", "pattern");
  refused(rule("math", "pattern = 'x'"), "E331", "find");
  refused(rule("format", "pattern = 'a(b'"), "E332", "at character 3");
  refused(rule("format", "pattern = 'x*'"), "E332", "empty");
  refused(rule("length"), "E331", "limit");
  refused(rule("length", "free = 5\nlimit = 5"), "E331", "limit = 5");
  refused(rule("length", "limit = 5\nonly_correct = true"), "E331", "correct");
  refused(rule("model"), "E331", "model");
  refused(rule("math") + "[sandbox]\nwall = \"0s\"\n", "E007", "wall");
  refused(rule("math") + "[sandbox]\nrequire = \"none\"\n", "E008", "namespaces");
}

TEST(Rules, ProblemsThatAreRefused) {
  const auto refused = [](const std::string &deck, const char *problem, const char *text) {
    const Rules rules(options(deck));
    const data::Json row = data::Json::parse(problem);
    expect_error([&] { rules.check_problem(row, "file.jsonl:7"); }, "E333", text);
    expect_error([&] { rules.score({item(row, "7")}); }, "E333", "file.jsonl:7");
  };
  refused(rule("math"), R"({"anwser": 7})", "did you mean anwser");
  refused(rule("math"), R"({"answer": null})", "answer");
  refused(rule("math"), R"({"answer": {"x": 1}})", "answer");
  refused(rule("math"), R"({"answer": []})", "one right answer");
  refused(rule("math"), R"({"answer": "  "})", "not empty");
  refused(rule("exact"), R"({"answer": [[1]]})", "texts or numbers");
  refused(rule("program"), R"({"test": "x"})", "did you mean test");
  refused(rule("program"), R"({"tests": []})", "tests");
  refused(rule("program", "cases = \"c\""), R"({"c": [{"input": "1"}]})", "{input, output}");
  refused(rule("program", "cases = \"c\""), R"({"c": "not json"})", "{input, output}");
  refused(rule("program", "before = \"head\""), R"({"tests": "x"})", "head");
}

} // namespace

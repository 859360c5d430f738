// SPDX-License-Identifier: Apache-2.0
// Tasks of programs from the shipped files to pass@k, with programs that are really run; the model says what it is told.
#include <map>

#include "eval/programs.hpp"
#include "eval/statistics.hpp"
#include "tests/unit/eval/tools.hpp"

namespace {

using namespace eval_test;

sandbox::Options limits() {
  sandbox::Options options;
  options.require = sandbox::Require::best;
  options.limits.wall = 20, options.limits.cpu = 2;
  return options;
}

// Says one text after the other.
struct Talker : Puppet {
  std::vector<std::string> texts;
  std::size_t next = 0;
  explicit Talker(std::vector<std::string> all) : texts(std::move(all)) {
    say = [this](const std::string &) { return texts[next++ % texts.size()]; };
  }
};

// pass@k of the first metric that is named so. samples: answers to each question.
double pass(const std::string &task, std::int64_t samples, std::vector<double> k, std::size_t which,
            const std::vector<std::string> &said) {
  eval::Options o = options();
  o.tasks.push_back(named(task, 0));
  auto tasks = eval::prepare(o, true);
  tasks.at(0).task.generate.samples = samples, tasks[0].task.score.k = k;
  eval::SandboxRunner runner(limits());
  Talker model(said);
  eval::Evaluation evaluation;
  evaluation.runner = &runner;
  const auto result = eval::evaluate(model, tasks, o, evaluation).at(0);
  EXPECT_EQ(result.metrics.at(which).metric, "pass@" + std::to_string(static_cast<int>(k[which])));
  return result.metrics[which].value;
}

TEST(Programs, HumanEval) {
  EXPECT_EQ(pass("humaneval", 1, {1}, 0, {"    return 2 * x\n"}), 1);
  EXPECT_EQ(pass("humaneval", 1, {1}, 0, {"    return x + 4\n"}), 0) << "right for one test of two";
  EXPECT_EQ(pass("humaneval", 1, {1}, 0, {"    exit(0)\n"}), 0)
      << "leaves before the tests are through";
  EXPECT_EQ(pass("humaneval", 1, {1}, 0, {"    while True: pass\n"}), 0);
}

TEST(Programs, PassAtK) {
  const std::vector<std::string> two_of_five = {"    return 0", "    return 2 * x", "    return 1",
                                                "    return x + x", "    return ("};
  EXPECT_DOUBLE_EQ(pass("humaneval", 5, {1, 2}, 0, two_of_five), 0.4);
  EXPECT_DOUBLE_EQ(pass("humaneval", 5, {1, 2}, 1, two_of_five), 1 - 3.0 / 10);
}

TEST(Programs, Mbpp) {
  EXPECT_EQ(pass("mbpp", 1, {1}, 0, {"def add_one(x):\n    return x + 1\n"}), 1);
  EXPECT_EQ(pass("mbpp", 1, {1}, 0, {"def add_one(x):\n    return x\n"}), 0);
}

TEST(Programs, LiveCodeBench) {
  EXPECT_EQ(
      pass("livecodebench", 1, {1}, 0,
           {"```python\nimport sys\nprint(sum(map(int, input().split())))\nsys.exit(0)\n```"}),
      1)
      << "a program of its own may end as it likes";
  EXPECT_EQ(pass("livecodebench", 1, {1}, 0, {"```python\nprint(3)\n```"}), 0)
      << "right for one case of two";
  EXPECT_EQ(pass("livecodebench", 1, {1}, 0, {"I cannot."}), 0);
}

} // namespace

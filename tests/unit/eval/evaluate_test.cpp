// SPDX-License-Identifier: Apache-2.0
// From questions to tables, with models that say what they are told.
#include <cmath>

#include "tests/unit/eval/tools.hpp"

namespace {

using namespace eval_test;

std::vector<eval::TaskResult> run(eval::Model &model, const std::vector<std::string> &names,
                                  const fs::path &directory = {}, eval::Options o = options(),
                                  eval::Runner *runner = nullptr, std::int64_t shots = 1) {
  for (const std::string &name : names) o.tasks.push_back(named(name, shots));
  auto tasks = eval::prepare(o, runner != nullptr);
  eval::prepare_puzzles(tasks, o, tokenizer(), model.longest());
  eval::Evaluation evaluation;
  evaluation.directory = directory, evaluation.model = "puppet", evaluation.runner = runner;
  return eval::evaluate(model, tasks, o, evaluation);
}
double value(const eval::TaskResult &result, const std::string &metric,
             const std::string &filter = "none") {
  for (const auto &m : result.metrics)
    if (m.metric == metric && m.filter == filter) return m.value;
  ADD_FAILURE() << result.task << " has no " << metric;
  return -1;
}

TEST(Evaluate, AnOracleIsRightAndItsOppositeWrong) {
  for (const bool knows : {true, false}) {
    Puppet model;
    // Knows the right letters of the samples' questions by a word of each.
    model.likes = [&](const std::string &context, const std::string &continuation) {
      const std::string last = context.substr(context.rfind("\n\n") + 2);
      const bool right =
          (last.find("lowest in the water") != std::string::npos && continuation == " B") ||
          (last.find("is called") != std::string::npos && continuation == " A") ||
          (last.find("has a sloop") != std::string::npos && continuation == " D") ||
          (last.find("sea level") != std::string::npos && continuation == " C") ||
          (last.find("Bread rises") != std::string::npos && continuation == " B");
      return right == knows ? -1.0 : -2.0;
    };
    const auto result = run(model, {"mmlu"}).at(0);
    EXPECT_EQ(value(result, "acc"), knows ? 1 : 0);
    EXPECT_EQ(result.questions, 5);
    EXPECT_EQ(result.groups.size(), 2U);
    EXPECT_EQ(result.groups[1].group, "kitchen");
    EXPECT_EQ(model.asked, 20);
  }
}

TEST(Evaluate, GeneratedAnswers) {
  Puppet model;
  model.say = [](const std::string &prompt) -> std::string {
    if (prompt.find("4 crates") != std::string::npos) return " 4*12 = 48\n#### 48";
    if (prompt.find("Mira") != std::string::npos) return " It is 13.";
    return " 8*250\n#### 2000";
  };
  const auto gsm = run(model, {"gsm8k"}).at(0);
  EXPECT_DOUBLE_EQ(value(gsm, "exact_match", "strict-match"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(value(gsm, "exact_match", "flexible-extract"), 1);
  EXPECT_DOUBLE_EQ(gsm.metrics[0].error,
                   std::sqrt((4.0 / 9 + 1.0 / 9 + 1.0 / 9) / 2) / std::sqrt(3.0));
  model.say = [](const std::string &) { return " Heron\nand more"; };
  const auto drop = run(model, {"drop"}).at(0);
  EXPECT_DOUBLE_EQ(value(drop, "f1", "first-line"), 0.5 / 3);
  model.say = [](const std::string &) { return "- one\n* two\n* three\nThat is all."; };
  const auto form = run(model, {"ifeval"}).at(0);
  EXPECT_DOUBLE_EQ(value(form, "prompt_level_strict_acc"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(value(form, "inst_level_strict_acc"), 3.0 / 6)
      << "no comma, three bullets, the end";
}

TEST(Evaluate, NeedlesFoundGiveAGrid) {
  Puppet model;
  model.say = [](const std::string &prompt) { // reads the needle, but only in its last half
    const std::size_t at = prompt.find("The secret number of ");
    const std::size_t is = prompt.find(" is ", at);
    return at > prompt.size() / 2 ? prompt.substr(is + 4, 4) : std::string("?");
  };
  const Folder folder;
  const auto result = run(model, {"needle"}, folder.path()).at(0);
  const std::string grid = folder.read("grid_needle.csv");
  EXPECT_EQ(grid.substr(0, grid.find('\n')), "length,depth,samples,value,stderr");
  EXPECT_NE(grid.find("\n1024,1,5,1,0\n"), std::string::npos) << grid;
  EXPECT_NE(grid.find("\n1024,0,5,0,0\n"), std::string::npos) << grid;
  EXPECT_EQ(result.groups.size(), 15U);
}

TEST(Evaluate, BitsPerByteOfWindows) {
  Puppet model;
  model.most = 16;
  std::size_t tokens = 0;
  model.likes = [&](const std::string &, const std::string &) { return -std::log(2.0); };
  const auto result = run(model, {"text"}).at(0);
  std::size_t bytes = 0;
  for (const char *name : {"harbour", "kitchen"}) {
    std::ifstream file(input() / "samples/text" / (std::string(name) + ".txt"));
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    bytes += text.size();
    tokens += (tokenizer().encode(text).size() + 14) / 15; // windows of 15 predicted tokens
  }
  EXPECT_NEAR(value(result, "bits_per_byte"),
              static_cast<double>(tokens) / static_cast<double>(bytes), 1e-12);
  EXPECT_TRUE(std::isfinite(result.metrics[0].error));
}

TEST(Evaluate, LongPromptsLoseTheirBeginning) {
  Puppet model;
  model.most = 24;
  const auto result = run(model, {"mmlu"}).at(0); // the puppet checks the lengths
  EXPECT_EQ(result.shortened, 5);
  model.most = 4;
  expect_error([&] { run(model, {"arc_easy"}); }, "E312", "ARC-Easy-Test.jsonl");
}

TEST(Evaluate, ABrokenEvaluationGoesOn) {
  struct Tired : Puppet {
    std::vector<eval::Likelihood>
    log_likelihoods(const std::vector<eval::Continuation> &requests) override {
      if (asked >= 8) throw std::runtime_error("tired");
      return Puppet::log_likelihoods(requests);
    }
  } tired;
  const auto by_length = [](const std::string &c, const std::string &s) {
    return -static_cast<double>((c.size() * 7 + s[1] * 13U) % 11);
  };
  tired.likes = by_length;
  eval::Options o = options();
  o.batch = 2;
  const Folder folder, whole;
  EXPECT_THROW(run(tired, {"mmlu"}, folder.path(), o), std::runtime_error);
  std::ofstream(folder.path() / "samples_mmlu.jsonl", std::ios::app) << "{\"index\": 2, \"gro";
  Puppet fresh;
  fresh.likes = by_length;
  const auto resumed = run(fresh, {"mmlu"}, folder.path(), o);
  EXPECT_EQ(fresh.asked, 12) << "three of five questions were left";
  Puppet other;
  other.likes = by_length;
  run(other, {"mmlu"}, whole.path());
  for (const char *name : {"results.json", "results.txt", "samples_mmlu.jsonl"})
    EXPECT_EQ(folder.read(name), whole.read(name)) << name;
  o.seed = 1;
  expect_error([&] { run(fresh, {"mmlu"}, folder.path(), o); }, "E313", "samples_mmlu.jsonl");
  o.existing = eval::Existing::replace;
  EXPECT_EQ(run(fresh, {"mmlu"}, folder.path(), o).at(0).questions, 5);
}

struct Machine : eval::Runner {
  std::vector<eval::Program> seen;
  std::vector<eval::RunOutcome> run(const std::vector<eval::Program> &programs) override {
    std::vector<eval::RunOutcome> all;
    for (const auto &one : programs) {
      seen.push_back(one);
      all.push_back(
          {one.source.find("good") != std::string::npos, one.input == "1 2\n" ? "3 \n\n" : "6"});
    }
    return all;
  }
};

TEST(Evaluate, ProgramsGoToTheRunner) {
  Puppet model;
  Machine machine;
  model.say = [](const std::string &) { return "    return 2 * x # good"; };
  EXPECT_EQ(value(run(model, {"humaneval"}, {}, options(), &machine).at(0), "pass@1"), 1);
  EXPECT_NE(machine.seen.at(0).source.find("return 2 * x # good\ndef check(candidate):"),
            std::string::npos);
  EXPECT_NE(machine.seen.at(0).source.find("check(twice)"), std::string::npos);
  model.say = [](const std::string &) { return "```python\ngood\n```"; };
  EXPECT_EQ(
      value(run(model, {"livecodebench"}, {}, options(), &machine, 0).at(0), "pass@1", "code"), 1);
  EXPECT_EQ(machine.seen.back().input, "10 -4\n");
  EXPECT_EQ(machine.seen.back().source, "good\n");
  model.say = [](const std::string &) { return "bad"; };
  EXPECT_EQ(
      value(run(model, {"livecodebench"}, {}, options(), &machine, 0).at(0), "pass@1", "code"), 0);
  EXPECT_EQ(value(run(model, {"mbpp"}, {}, options(), &machine).at(0), "pass@1"), 0);
}

TEST(Results, TheTableUsersKnow) {
  const double nan = std::nan("");
  eval::TaskResult arc{
      "arc_easy",
      "",
      1,
      0,
      {{"acc", "none", 0.62543, 0.00994, 100}, {"acc_norm", "none", 0.5, 0.01, 100}},
      {{"x", {{"acc", "none", 1, nan, 1}}}},
      100,
      0,
      ""};
  eval::TaskResult text{"text", "", 2, 0, {{"bits_per_byte", "none", 1.25, nan, 1}}, {}, 1, 0, ""};
  EXPECT_EQ(eval::table({arc, text}, false),
            "| Tasks  |Version|Filter|n-shot|   Metric    |   |Value |   |Stderr|\n"
            "|--------|------:|------|-----:|-------------|---|-----:|---|-----:|\n"
            "|arc_easy|      1|none  |     0|acc          |↑  |0.6254|±  |0.0099|\n"
            "|        |       |none  |     0|acc_norm     |↑  |0.5000|±  |0.0100|\n"
            "|text    |      2|none  |     0|bits_per_byte|↓  |1.2500|±  |   N/A|\n");
  const std::string groups = eval::table({arc}, true);
  EXPECT_NE(groups.find("\n| - x    |      1|none  |     0|acc     |↑  |1.0000|±  |   N/A|\n"),
            std::string::npos)
      << groups;
}

TEST(Results, LinesComeBackAsTheyWere) {
  eval::Sample sample{7,
                      "g \"1\"\n",
                      {{"acc", "none", 0.1 + 0.2, 1}, {"f1", "x", 1e-300, 3}},
                      row(R"({"said": ["a"]})")};
  const std::string line = eval::to_line(sample);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  eval::Sample back;
  ASSERT_TRUE(eval::from_line(line, back));
  EXPECT_EQ(back.group, sample.group);
  EXPECT_EQ(back.values[0].above, 0.1 + 0.2);
  EXPECT_EQ(back.values[1].above, 1e-300);
  for (const char *bad : {"", "{}", "[1]", "{\"index\": 1, \"group\": \"\", \"values\": [[1]]}"})
    EXPECT_FALSE(eval::from_line(bad, back)) << bad;
}

TEST(Encode, ContextAndContinuationAreOneText) {
  const eval::Wording plain{tokenizer().eos(), {}};
  const auto pair = eval::encode_pair(tokenizer(), plain, "The answer ", "is A");
  EXPECT_EQ(pair.context.front(), tokenizer().eos());
  EXPECT_EQ(
      tokenizer().decode(std::vector<data::Token>(pair.context.begin() + 1, pair.context.end())),
      "The answer");
  EXPECT_EQ(tokenizer().decode(pair.continuation), " is A");
  const auto nothing = eval::encode_pair(tokenizer(), {}, "", "x");
  EXPECT_EQ(nothing.context, std::vector<data::Token>{tokenizer().eos()});
  const eval::Wording chat{{}, data::chat::Form::corrected};
  const auto turn = eval::encode_pair(tokenizer(), chat, "The answer", "is A");
  EXPECT_EQ(tokenizer().decode(turn.continuation), "is A");
  EXPECT_NE(tokenizer().decode(turn.context).find("The answer"), std::string::npos);
  EXPECT_GT(turn.context.size(), tokenizer().encode("The answer").size() + 1);
}

} // namespace

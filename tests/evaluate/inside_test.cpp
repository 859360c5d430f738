// SPDX-License-Identifier: Apache-2.0
// [evaluate] in the deck of a training: what is asked changes nothing, and is what hadal eval asks.
#include <algorithm>

#include <gtest/gtest.h>

#ifdef HADAL_MPIRUN
#include "tests/support/mpirun.hpp"
#endif
#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome;
using Words = std::vector<std::string>;
const std::string kSource = HADAL_SOURCE_DIR;
const Words kTasks = {"evaluate.task_folder=" + kSource + "/input/evaluate/tasks",
                      "evaluate.data=" + kSource + "/input/evaluate/samples",
                      "evaluate.shots=0",
                      "evaluate.limit=4",
                      "evaluate.max_length=512",
                      "evaluate.max_tokens=8"};

// A key that is given again takes the place of the earlier one.
Words operator+(Words words, const Words &more) {
  for (const auto &word : more) {
    const auto key = word.substr(0, word.find('=') + 1);
    if (!key.empty()) std::erase_if(words, [&](const auto &old) { return old.starts_with(key); });
    words.push_back(word);
  }
  return words;
}

class Inside : public testing::Test {
protected:
  static void SetUpTestSuite() { tiny_ = new support::TinyRun; }
  static void TearDownTestSuite() { delete tiny_, tiny_ = nullptr; }
  void SetUp() override { ASSERT_EQ(tiny_->built().code, 0) << tiny_->built().output; }

  static Words words(const std::string &directory, int steps, const Words &more) {
    return tiny_->command(directory,
                          Words{"train.steps=" + std::to_string(steps), "train.validate_every=0",
                                "train.load_every=1", "checkpoint.every=5"} +
                              more);
  }
  static Words asked(const Words &more = {}) {
    return kTasks + Words{"evaluate.tasks=[\"arc_easy\", \"gsm8k\"]", "evaluate.every=10"} + more;
  }
  static Outcome train(const std::string &directory, int steps, const Words &more) {
    return support::run(words(directory, steps, more), tiny_->folder());
  }
  static std::string text(const std::string &name) { return support::read_text(tiny_->at(name)); }
  static inline support::TinyRun *tiny_ = nullptr;
};

TEST_F(Inside, ChangesNothingAndAgreesWithEval) {
  const Outcome without = train("without", 20, {}), with = train("with", 20, asked());
  ASSERT_EQ(without.code, 0) << without.output;
  ASSERT_EQ(with.code, 0) << with.output;
  const std::string hash = support::state_hash(without.output);
  ASSERT_EQ(hash.size(), 32U);
  EXPECT_EQ(support::state_hash(with.output), hash) << "router biases are part of the state";
  for (const char *column : {"loss", "grad_norm", "max_violation", "tokens"})
    EXPECT_EQ(support::column(tiny_->at("with/history.csv"), column),
              support::column(tiny_->at("without/history.csv"), column))
        << column;
  EXPECT_EQ(text("with/expert_load.csv"), text("without/expert_load.csv"));
  EXPECT_FALSE(fs::exists(tiny_->at("without/evaluation.csv"))) << "nobody asked";

  const auto steps = support::column(tiny_->at("with/evaluation.csv"), "step");
  EXPECT_EQ(std::count(steps.begin(), steps.end(), "10"),
            std::count(steps.begin(), steps.end(), "20"));
  EXPECT_GE(std::count(steps.begin(), steps.end(), "20"), 2) << text("with/evaluation.csv");
  EXPECT_NE(with.output.find("|arc_easy"), std::string::npos) << "the table is told" << with.output;
  EXPECT_FALSE(fs::exists(tiny_->at("with/evaluation/step-00000010")));
  const std::string folder = "with/evaluation/step-00000020/";
  EXPECT_TRUE(fs::exists(tiny_->at(folder + "samples_gsm8k.jsonl")));
  const Outcome alone =
      support::run(Words{support::hadal(), "eval", kSource + "/input/evaluate/tiny.toml"} + kTasks +
                       Words{"evaluate.tasks=[\"arc_easy\", \"gsm8k\"]", "evaluate.checkpoint=with",
                             "evaluate.directory=alone"},
                   tiny_->folder());
  ASSERT_EQ(alone.code, 0) << alone.output;
  EXPECT_EQ(text("alone/results.txt"), text(folder + "results.txt"));
  const auto behind_head = [](const std::string &all) { return all.substr(all.find('\n')); };
  for (const char *samples : {"samples_arc_easy.jsonl", "samples_gsm8k.jsonl"})
    EXPECT_EQ(behind_head(text(std::string("alone/") + samples)),
              behind_head(text(folder + samples)));
}

TEST_F(Inside, RestartRepeatsNoRow) {
  ASSERT_EQ(train("whole", 20, asked({"evaluate.samples=true"})).code, 0);
  EXPECT_TRUE(fs::exists(tiny_->at("whole/evaluation/step-00000010/results.json")));
  // Rows behind the checkpoint are those of a run that was killed.
  ASSERT_EQ(train("parts", 10, asked()).code, 0);
  support::write_text(tiny_->at("parts/evaluation.csv"),
                      text("parts/evaluation.csv") + "14,arc_easy,1,none,0,acc,1,,4\n");
  const Outcome rest = train("parts", 20, asked());
  ASSERT_EQ(rest.code, 0) << rest.output;
  EXPECT_NE(rest.output.find("restart from"), std::string::npos) << rest.output;
  EXPECT_EQ(text("parts/evaluation.csv"), text("whole/evaluation.csv"));
}

#ifdef HADAL_MPIRUN
TEST_F(Inside, TheSameOnFourRanks) {
  const Outcome one = train("one", 4, asked({"evaluate.every=2"}));
  ASSERT_EQ(one.code, 0) << one.output;
  for (const Words &layout : std::vector<Words>{
           {"parallel.dp=4", "parallel.ep=2"},
           {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"}}) {
    const std::string name = "four" + layout.back();
    const Outcome four = support::run(
        support::mpirun(4, words(name, 4, asked({"evaluate.every=2"}) + layout)), tiny_->folder());
    ASSERT_EQ(four.code, 0) << four.output;
    EXPECT_EQ(support::state_hash(four.output), support::state_hash(one.output));
    EXPECT_EQ(text(name + "/evaluation.csv"), text("one/evaluation.csv"));
  }
}
#endif

TEST_F(Inside, InBf16) {
  const Outcome outcome = train("bf16", 2, asked({"precision.compute=bf16"}));
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_NE(text("bf16/evaluation.csv").find("\n2,arc_easy,"), std::string::npos);
}

TEST_F(Inside, FaultsAreFoundBeforeTheFirstStep) {
  struct Case {
    Words words;
    int code;
    const char *number;
  };
  for (const Case &one : std::vector<Case>{{{"evaluate.tasks=[\"mmul\"]"}, 2, "E300"},
                                           {{"evaluate.tasks=[]"}, 2, "E318"},
                                           {{"evaluate.evry=2"}, 2, "E005"},
                                           {{"evaluate.checkpoint=with"}, 2, "E320"},
                                           {{"evaluate.directory=elsewhere"}, 2, "E320"},
                                           {{"evaluate.tasks=[\"humaneval\"]"}, 2, "E310"},
                                           {{"evaluate.data=nowhere"}, 6, "E301"},
                                           {{"evaluate.max_length=4"}, 6, "E312"}}) {
    const Outcome refused = train("refused", 2, asked(one.words));
    EXPECT_EQ(refused.code, one.code) << refused.output;
    EXPECT_NE(refused.output.find(one.number), std::string::npos) << refused.output;
    EXPECT_EQ(refused.output.find("step      1"), std::string::npos) << refused.output;
  }
  const Outcome numbers =
      support::run(Words{support::hadal(), "run", kSource + "/input/reward/tiny.toml"} + asked(),
                   tiny_->folder());
  EXPECT_EQ(numbers.code, 2) << numbers.output;
  EXPECT_NE(numbers.output.find("E319"), std::string::npos) << numbers.output;
  const Words check = words("refused", 2, asked({"--check"}));
  EXPECT_EQ(support::run(check, tiny_->folder()).code, 0);
}

} // namespace

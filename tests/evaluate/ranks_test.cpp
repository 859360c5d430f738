// SPDX-License-Identifier: Apache-2.0
// hadal eval under mpirun: the files of one process, byte for byte.
#ifdef HADAL_MPIRUN
#include <gtest/gtest.h>

#include <map>

#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome;
using Words = std::vector<std::string>;
const std::string kSource = HADAL_SOURCE_DIR;

class EvaluateOnRanks : public testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny_ = new support::TinyRun;
    trained_ = tiny_->train("model", {"train.steps=2"}).code;
  }
  static void TearDownTestSuite() { delete tiny_, tiny_ = nullptr; }
  void SetUp() override { ASSERT_EQ(trained_, 0); }

  // Settings take the place of those that stand here.
  static Outcome evaluate(int ranks, const std::string &directory,
                          const std::map<std::string, std::string> &settings) {
    std::map<std::string, std::string> all = settings;
    all.try_emplace("evaluate.checkpoint", tiny_->at("model").string());
    all.try_emplace("evaluate.directory", tiny_->at(directory).string());
    all.try_emplace("evaluate.tasks", "[\"arc_easy\", \"gsm8k\", \"text\"]");
    all.try_emplace("evaluate.max_tokens", "6");
    all.try_emplace("evaluate.max_length", "2048");
    all.try_emplace("infer.cache", "8192");
    Words words = {support::hadal(), "eval", "input/evaluate/tiny.toml"};
    for (const auto &[key, value] : all) words.push_back(key + "=" + value);
    return support::run(ranks > 1 ? support::mpirun(ranks, words) : words, kSource);
  }
  static inline support::TinyRun *tiny_ = nullptr;
  static inline int trained_ = -1;
};

TEST_F(EvaluateOnRanks, TheFilesOfOneProcess) {
  const Outcome alone = evaluate(1, "alone", {});
  ASSERT_EQ(alone.code, 0) << alone.output;
  const struct {
    std::string name;
    int ranks;
    std::map<std::string, std::string> settings;
  } layouts[] = {{"dp2_ep2", 2, {{"parallel.dp", "2"}, {"parallel.ep", "2"}}},
                 {"pp2_dp2", 4, {{"parallel.dp", "2"}, {"parallel.pp", "2"}}}};
  for (const auto &layout : layouts) {
    const Outcome many = evaluate(layout.ranks, layout.name, layout.settings);
    ASSERT_EQ(many.code, 0) << many.output;
    int files = 0;
    for (const auto &entry : fs::directory_iterator(tiny_->at("alone"))) {
      const auto name = entry.path().filename();
      EXPECT_EQ(support::read_text(entry.path()), support::read_text(tiny_->at(layout.name) / name))
          << layout.name << ": " << name;
      ++files;
    }
    EXPECT_EQ(files, 5);
    const auto first = many.output.find("|Version|");
    EXPECT_NE(first, std::string::npos) << many.output;
    EXPECT_EQ(many.output.find("|Version|", first + 1), std::string::npos) << "one rank speaks";
  }
}

TEST_F(EvaluateOnRanks, FaultsAreTold) {
  const struct {
    int ranks;
    std::map<std::string, std::string> settings;
    int code;
    std::string number;
  } cases[] = {{2, {{"parallel.dp", "2"}, {"parallel.ep", "3"}}, 2, "E014"},
               {2, {{"parallel.dp", "4"}}, 3, "E083"},
               {2, {{"parallel.dp", "2"}, {"infer.rows", "8"}}, 2, "E268"},
               {2, {{"parallel.dp", "2"}, {"evaluate.checkpoint", "nowhere"}}, 5, "E210"},
               {2, {{"parallel.dp", "2"}, {"evaluate.directory", "/proc/nowhere"}}, 3, "E314"}};
  for (const auto &one : cases) {
    const Outcome refused = evaluate(one.ranks, "refused", one.settings);
    EXPECT_EQ(refused.code, one.code) << refused.output;
    EXPECT_NE(refused.output.find("[" + one.number + "]"), std::string::npos) << refused.output;
  }
  // One process holds the whole model, whatever the deck says of a run.
  EXPECT_EQ(evaluate(1, "one", {{"parallel.dp", "4"}, {"evaluate.tasks", "[\"arc_easy\"]"}}).code,
            0);
}

} // namespace
#endif

// SPDX-License-Identifier: Apache-2.0
// A model leaves by Hugging Face files and comes back: training that goes on from it is the same training.
#include <gtest/gtest.h>

#include "tests/support/tiny_run.hpp"

namespace {

class Chain : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny = new support::TinyRun();
    ASSERT_EQ(tiny->built().code, 0) << tiny->built().output;
    ASSERT_EQ(tiny->train("first", {"train.steps=3"}).code, 0);
  }
  static void TearDownTestSuite() { delete tiny; }
  static support::Outcome hadal(std::vector<std::string> words) {
    words.insert(words.begin(), support::hadal());
    return support::run(words, tiny->folder());
  }
  // The state hash after three steps from given weights.
  static std::string continued(const std::string &from, const std::string &directory) {
    const auto outcome = tiny->train(directory, {"train.steps=3", "run.init_from=" + from});
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    return support::state_hash(outcome.output);
  }
  static support::TinyRun *tiny;
};
support::TinyRun *Chain::tiny = nullptr;

TEST_F(Chain, TrainingGoesOnTheSameFromAnImport) {
  ASSERT_EQ(hadal({"convert", "to-hf", "first", "--out", "hf", "--dtype", "f32"}).code, 0);
  ASSERT_EQ(hadal({"convert", "from-hf", "hf", "--out", "imported"}).code, 0);
  const std::string hash = continued("first", "second");
  EXPECT_FALSE(hash.empty());
  EXPECT_EQ(continued("imported", "third"), hash);
  // Template and settings travelled through the training.
  const auto settings = support::read_text(tiny->at("hf/tokenizer_config.json"));
  EXPECT_NE(settings, "");
  EXPECT_EQ(support::read_text(tiny->at("third/checkpoints/step-00000003/tokenizer_config.json")),
            settings);
}

TEST_F(Chain, AnImportOfAnotherMeaningStopsTheRunBeforeItsFirstStep) {
  ASSERT_EQ(hadal({"convert", "to-hf", "first", "--out", "hf2", "--dtype", "bf16"}).code, 0);
  std::string config = support::read_text(tiny->at("hf2/config.json"));
  const std::string scale = "\"routed_scaling_factor\": 2.5";
  ASSERT_NE(config.find(scale), std::string::npos);
  config.replace(config.find(scale), scale.size(), "\"routed_scaling_factor\": 1.0");
  support::write_text(tiny->at("hf2/config.json"), config);
  ASSERT_EQ(hadal({"convert", "from-hf", "hf2", "--out", "other"}).code, 0);
  const auto outcome = tiny->train("fourth", {"train.steps=3", "run.init_from=other"});
  EXPECT_EQ(outcome.code, 5) << outcome.output;
  EXPECT_NE(outcome.output.find("E222"), std::string::npos) << outcome.output;
  EXPECT_NE(outcome.output.find("model.router.scale"), std::string::npos) << outcome.output;
  const auto accepted = tiny->train("fifth", {"train.steps=1", "run.init_from=other",
                                              "run.accept_changes=[\"model.router.scale\"]"});
  EXPECT_EQ(accepted.code, 0) << accepted.output;
}

TEST_F(Chain, ForeignCommandsAreToldWhatIsAllowed) {
  EXPECT_EQ(hadal({"convert", "to-hf", "first", "--out", "x", "--dtype", "int8"}).code, 2);
  EXPECT_EQ(hadal({"convert", "to-hf", "first", "--out", "x", "--shard-size", "-3"}).code, 2);
  EXPECT_EQ(hadal({"convert", "from-hf", "nowhere", "--out", "x"}).code, 5);
  EXPECT_EQ(hadal({"convert", "to-gguf", "nowhere", "--out", "x"}).code, 5);
  EXPECT_EQ(hadal({"convert", "sideways"}).code, 2);
  EXPECT_FALSE(std::filesystem::exists(tiny->at("x")));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Fine-tuning on conversations: the loss of the assistant's words falls, runs can be stopped, shared and refused.
#include "tests/phases/chain.hpp"

namespace {

using phases::holds, phases::Words;
using phases::operator+;

class Sft : public phases::Chain {};

TEST_F(Sft, LearnsWhatTheAssistantSays) {
  const auto outcome = sft("sft_tuned", {"train.validate_every=5", "train.epochs=4"});
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_TRUE(holds(outcome.output, "4 epoch(s): ")) << outcome.output;
  const auto held_out = numbers("sft_tuned", "validation_loss");
  ASSERT_GE(held_out.size(), 2U);
  EXPECT_LT(held_out.back(), 0.8 * held_out.front());
  const auto rate = numbers("sft_tuned", "learning_rate");
  EXPECT_LE(rate.back(), 2.5e-4) << "the cosine ends with the run";
  EXPECT_GT(*std::max_element(rate.begin(), rate.end()), 9e-4);
}

TEST_F(Sft, RestartIsBitForBitAndSoIsAnotherLayout) {
  const Words few = {"train.epochs=0", "train.steps=8", "rate.whole_run=false"};
  const auto whole = sft("sft_whole", few);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output);
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(sft("sft_halves", few + Words{"train.steps=3"}).code, 0);
  std::filesystem::rename(at("longer"), at("elsewhere")); // a run that goes on needs it no more
  const auto rest = sft("sft_halves", few);
  std::filesystem::rename(at("elsewhere"), at("longer"));
  EXPECT_TRUE(holds(rest.output, "restart from")) << rest.output;
  EXPECT_EQ(support::state_hash(rest.output), hash) << rest.output;
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  const auto four = support::run(
      support::mpirun(4, sft_words("sft_four", few + Words{"parallel.dp=4", "parallel.ep=2"})),
      tiny->folder());
  EXPECT_EQ(four.code, 0) << four.output;
  EXPECT_EQ(support::state_hash(four.output), hash) << four.output;
}

TEST_F(Sft, WrongUse) {
  expect_told(sft("none", {"run.init_from="}), 2, "E032");
  expect_told(sft("longer", {}), 5, "E223");
  expect_told(sft("none", {"model.rope.factor=1"}), 5, "E222"); // the weights were extended
  support::write_text(at("bad.jsonl"),
                      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello.\"}, {\"role\": "
                      "\"assistant\", \"content\": \"Hello.\"}]}\n"
                      "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello.\"}, {\"role\": "
                      "\"assistant\", \"content\": \"\"}]}\n");
  const auto empty = sft("none", {"sft.source.0.paths=[\"bad.jsonl\"]"});
  EXPECT_EQ(empty.code, 6) << empty.output;
  EXPECT_TRUE(holds(empty.output, "bad.jsonl:2")) << empty.output;
  const auto absent = sft("none", {"sft.source.0.paths=[\"absent.jsonl\"]"});
  EXPECT_EQ(absent.code, 6) << absent.output;
  EXPECT_TRUE(holds(absent.output, "absent.jsonl")) << absent.output;
}

} // namespace

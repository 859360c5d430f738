// SPDX-License-Identifier: Apache-2.0
// The reward model learns to tell better answers from worse ones.
#include <cmath>

#include "tests/phases/chain.hpp"

namespace {

using phases::holds, phases::Words;
using phases::operator+;

class Reward : public phases::Chain {
protected:
  static support::Outcome reward(const std::string &directory, const Words &more, int ranks = 1) {
    const Words words = reward_words(directory, more);
    return support::run(ranks == 1 ? words : support::mpirun(ranks, words), tiny->folder());
  }
};

TEST_F(Reward, LearnsWhichAnswerIsBetter) {
  const auto outcome = reward("judge", {"train.epochs=4"});
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto loss = numbers("judge", "loss"), right = numbers("judge", "right");
  EXPECT_NEAR(loss.front(), std::log(2.0), 0.1) << "new weights know nothing";
  EXPECT_LT(loss.back(), 0.9 * loss.front());
  EXPECT_GT(right.back(), 0.55);
  EXPECT_FALSE(numbers("judge", "validation_right").empty());
  EXPECT_TRUE(holds(outcome.output, "held-out pairs: ")) << outcome.output;
}

TEST_F(Reward, RestartIsBitForBitAndSoIsAnotherLayout) {
  const Words few = {"train.epochs=0", "train.steps=6", "rate.whole_run=false"};
  const auto whole = reward("reward_whole", few);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output);
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(reward("reward_halves", few + Words{"train.steps=2"}).code, 0);
  EXPECT_EQ(support::state_hash(reward("reward_halves", few).output), hash);
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  const auto four = reward(
      "reward_four", few + Words{"parallel.dp=2", "parallel.pp=2", "parallel.schedule=1f1b"}, 4);
  EXPECT_EQ(four.code, 0) << four.output;
  EXPECT_EQ(support::state_hash(four.output), hash) << four.output;
}

TEST_F(Reward, WrongUse) {
  expect_told(reward("none", {"model.head=language"}), 2, "E036");
  support::write_text(at("pairs.jsonl"), "{\"prompt\": \"Hello.\", \"chosen\": \"Hello.\"}\n");
  const auto missing = reward("none", {"pairs.source.0.paths=[\"pairs.jsonl\"]"});
  EXPECT_EQ(missing.code, 6) << missing.output;
  EXPECT_TRUE(holds(missing.output, "pairs.jsonl:1")) << missing.output;
}

} // namespace

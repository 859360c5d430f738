// SPDX-License-Identifier: Apache-2.0
// Groups of answers: rewards rise, rollouts have the trainer's probabilities, rounds can be stopped at their borders and shared by ranks.
#include "tests/phases/chain.hpp"

namespace {

using phases::holds, phases::Words;
using phases::operator+;

class Grpo : public phases::Chain {
protected:
  static void SetUpTestSuite() {
    phases::Chain::SetUpTestSuite();
    const auto tuned = sft("tuned", {"train.validate_every=0", "train.epochs=8"});
    ASSERT_EQ(tuned.code, 0) << tuned.output;
  }
  static support::Outcome grpo(const std::string &directory, const Words &more, int ranks = 1) {
    const Words words = Words{support::hadal(),
                              "run",
                              std::string(HADAL_SOURCE_DIR) + "/input/grpo/tiny.toml",
                              "run.directory=" + directory,
                              "run.init_from=tuned",
                              "grpo.source.0.paths=[\"" + std::string(HADAL_SOURCE_DIR) +
                                  "/input/grpo/samples\"]"} +
                        more;
    return support::run(ranks == 1 ? words : support::mpirun(ranks, words), tiny->folder());
  }
};

TEST_F(Grpo, RewardsRise) {
  const auto outcome = grpo("better", {});
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto reward = numbers("better", "reward"), apart = numbers("better", "rollout_difference"),
             kl = numbers("better", "kl");
  ASSERT_EQ(reward.size(), 40U);
  const auto mean = [&](std::size_t from) {
    double sum = 0;
    for (std::size_t i = from; i < from + 10; ++i) sum += reward[i] / 10;
    return sum;
  };
  EXPECT_GT(mean(30), mean(0) + 0.05);
  for (const double difference : apart) EXPECT_EQ(difference, 0.0) << "exact attention";
  EXPECT_EQ(kl.front(), 0.0) << "the reference is where the run starts";
  EXPECT_GT(kl.back(), 0.0);
  const auto samples = support::read_text(at("better/samples/round-000000.jsonl"));
  EXPECT_TRUE(holds(samples, "\"answer\"") && holds(samples, "\"right\"")) << samples;
  EXPECT_FALSE(numbers("better", "reward_number").empty());
}

TEST_F(Grpo, RestartIsBitForBitAndSoIsAnotherLayout) {
  const Words few = {"train.steps=8"};
  const auto whole = grpo("grpo_whole", few);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output);
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(grpo("grpo_halves", {"train.steps=4"}).code, 0);
  const auto rest = grpo("grpo_halves", few);
  EXPECT_TRUE(holds(rest.output, "restart from")) << rest.output;
  EXPECT_EQ(support::state_hash(rest.output), hash) << rest.output;
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  for (const Words &layout : std::vector<Words>{
           {"parallel.dp=4", "parallel.ep=2"},
           {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"}}) {
    const auto four = grpo("grpo_four" + layout.back(), few + layout, 4);
    EXPECT_EQ(four.code, 0) << four.output;
    EXPECT_EQ(support::state_hash(four.output), hash) << four.output;
  }
}

TEST_F(Grpo, FormsOfTheReport) {
  for (const Words &form :
       std::vector<Words>{{"grpo.ratio=sequence", "grpo.mean=answer"},
                          {"grpo.ratio=token", "grpo.mean=answer", "grpo.beta=0"},
                          {"grpo.ratio=token", "grpo.mean=length", "grpo.spread=none"},
                          {"precision.compute=bf16", "grpo.attention=absorbed"}}) {
    const auto outcome = grpo("form" + form[0] + form[1], form + Words{"train.steps=4"});
    EXPECT_EQ(outcome.code, 0) << outcome.output;
  }
}

TEST_F(Grpo, WrongUse) {
  expect_told(grpo("none", {"grpo.group=7"}), 2, "E037");
  expect_told(grpo("none", {"train.steps=7"}), 2, "E037");
  expect_told(grpo("none", {"grpo.ratio=sequence"}), 2, "E351");
  expect_told(grpo("none", {"batch.sequence=8"}), 6, "E353");
  expect_told(grpo("none", {"reward.0.truth=solution"}), 6, "E333");
  support::write_text(at("problems.jsonl"), "{\"question\": \"1 + 1\", \"answer\": \"2\"}\n");
  expect_told(grpo("none", {"grpo.source.0.paths=[\"problems.jsonl\"]"}), 6, "E352");
}

} // namespace

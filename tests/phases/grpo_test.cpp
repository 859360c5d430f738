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
    const auto judge =
        support::run(reward_words("model", {"train.epochs=0", "train.steps=2",
                                            "rate.whole_run=false", "run.init_from=tuned"}),
                     tiny->folder());
    ASSERT_EQ(judge.code, 0) << judge.output;
    support::write_text(at("judged.toml"), support::read_text(kDeck) + kJudged);
  }
  // With reward models, of which one sees the right answer, and a rule for steps.
  static support::Outcome judged(const std::string &directory, const Words &more, int ranks = 1) {
    return run("judged.toml", directory, more, ranks);
  }
  static support::Outcome grpo(const std::string &directory, const Words &more) {
    return run(kDeck, directory, more, 1);
  }

  static inline const std::string kDeck = std::string(HADAL_SOURCE_DIR) + "/input/grpo/tiny.toml";
  static constexpr const char *kJudged = R"(
[[reward]]
name = "liked"
kind = "model"
weight = 0.5
model = "model"

[[reward]]
name = "compared"
kind = "model"
weight = 0.1
model = "model"
show = "{{prompt}} The right answer: {{answer}}"

[[reward]]
name = "digits"
kind = "format"
weight = 0.3
pattern = '[0-9\s]+'
per = "step"

[[reward]]
name = "so_far"
kind = "model"
model = "model"
per = "step"
)";

private:
  static support::Outcome run(const std::string &deck, const std::string &directory,
                              const Words &more, int ranks) {
    const Words words = Words{support::hadal(),
                              "run",
                              deck,
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
  const Words few = {"train.steps=4", "grpo.step_end=\"2\""}; // a step ends behind each 2
  const auto whole = judged("grpo_whole", few);
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output);
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(judged("grpo_halves", few + Words{"train.steps=2"}).code, 0);
  const auto rest = judged("grpo_halves", few);
  EXPECT_TRUE(holds(rest.output, "restart from")) << rest.output;
  EXPECT_EQ(support::state_hash(rest.output), hash) << rest.output;
  for (const char *name : {"reward_liked", "reward_compared", "reward_digits", "reward_so_far"})
    EXPECT_NE(numbers("grpo_whole", name).front(), 0) << name;
  EXPECT_NE(numbers("grpo_whole", "reward_liked").front(),
            numbers("grpo_whole", "reward_compared").front());
  EXPECT_EQ(numbers("grpo_whole", "rollout_difference").front(), 0.0);
  const auto samples = support::read_text(at("grpo_whole/samples/round-000000.jsonl"));
  EXPECT_TRUE(holds(samples, "\"steps\":[{\"end\"")) << samples;
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  for (const Words &layout : std::vector<Words>{
           {"parallel.dp=4", "parallel.ep=2"},
           {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"}}) {
    const auto four = judged("grpo_four" + layout.back(), few + layout, 4);
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
    const auto outcome = grpo("form" + form[0] + form[1], form + Words{"train.steps=2"});
    EXPECT_EQ(outcome.code, 0) << outcome.output;
  }
}

TEST_F(Grpo, WrongUse) {
  expect_told(grpo("none", {"grpo.group=7"}), 2, "E037");
  expect_told(grpo("none", {"train.steps=7"}), 2, "E037");
  expect_told(grpo("none", {"grpo.ratio=sequence"}), 2, "E351");
  expect_told(judged("none", {"grpo.ratio=sequence", "grpo.mean=answer"}), 2, "E358");
  expect_told(judged("none", {"grpo.step_end="}), 2, "E358");
  expect_told(judged("none", {"reward.2.model=tuned"}), 5, "E354");
  expect_told(judged("none", {"reward.2.model=nowhere"}), 5, "E210");
  expect_told(judged("none", {"grpo.form=original"}), 5, "E356");
  other_tokenizer("model", "step-00000002", "other_model");
  expect_told(judged("none", {"reward.2.model=other_model"}), 5, "E355");
  expect_told(judged("none", {"reward.3.show=\"{{prompt}}" + std::string(600, '.') + "\""}), 6,
              "E357");
  expect_told(judged("none", {"reward.3.show=\"{{solution}}\""}), 6, "E333");
  expect_told(grpo("none", {"batch.sequence=8"}), 6, "E353");
  expect_told(grpo("none", {"reward.0.truth=solution"}), 6, "E333");
  support::write_text(at("problems.jsonl"), "{\"question\": \"1 + 1\", \"answer\": \"2\"}\n");
  expect_told(grpo("none", {"grpo.source.0.paths=[\"problems.jsonl\"]"}), 6, "E352");
  support::write_text(at("problems.jsonl"),
                      "{\"messages\": [{\"role\": \"user\", \"content\": \"1 + 1\"}, {\"role\": "
                      "\"assistant\", \"content\": \"2\"}], \"answer\": \"2\"}\n");
  expect_told(grpo("none", {"grpo.source.0.paths=[\"problems.jsonl\"]"}), 6, "E352");
}

} // namespace

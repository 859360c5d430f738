// SPDX-License-Identifier: Apache-2.0
// A reward model that is asked gives what the trainer's pass over pairs reads, whatever else is asked with it.
#include <gtest/gtest.h>

#include "infer/scores.hpp"
#include "tests/unit/infer/tiny.hpp"

namespace {

using namespace infer_test;
using infer::ScoreOptions;

arch::Dims reward_dims() {
  arch::Dims dims = v3_dims();
  dims.head = arch::Head::reward;
  return dims;
}

template <class A> infer::Scores<A> judge(const Model<A> &m, const ScoreOptions &options) {
  return {m.dims(), {m.layout, m.master, m.compute, m.weights()}, {}, options};
}

// Rewards of a sample that holds the conversations as phase reward lays them out.
template <class A>
std::vector<float> trainers(const Model<A> &m, const std::vector<Tokens> &all, Index rows) {
  std::vector<std::int32_t> tokens, starts;
  std::vector<std::uint8_t> marks(static_cast<std::size_t>(rows) + 1, 0);
  for (const Tokens &one : all) {
    starts.push_back(static_cast<std::int32_t>(tokens.size()));
    tokens.insert(tokens.end(), one.begin(), one.end());
    marks[tokens.size() - 1] = 1;
  }
  starts.push_back(static_cast<std::int32_t>(tokens.size()));
  tokens.resize(marks.size(), 0);
  model::Objective objective;
  objective.goal = model::Goal::reward;
  model::Stage<A> stage(m.dims(), {}, 1, rows);
  stage.set_objective(objective);
  tensor::Arena arena("test::stage", stage.arena_bytes()), none("test::none", 1 << 10);
  tensor::Context ctx{tensor::Exec(), arena};
  model::BatchBuffers buffers(1, rows, 0, objective);
  const model::HostSample host{tokens, starts, marks};
  return stage.rewards(ctx, none, m.weights(), buffers.load(ctx, std::span(&host, 1)), {}, {});
}

template <class A> void expect_the_trainers() {
  const Model<A> m(reward_dims());
  std::vector<Tokens> all;
  for (const Index n : {1, 7, 32, 33, 64, 20, 3})
    all.push_back(random_tokens(m.dims(), n, static_cast<std::uint64_t>(n)));
  auto together = judge(m, {3, 64});
  const auto scores = together(all);
  ASSERT_EQ(scores.size(), all.size());
  auto single = judge(m, {1, 64});
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(scores[i], static_cast<double>(trainers(m, {all[i]}, 80).at(0))) << i;
    EXPECT_EQ(single({all[i]}).at(0), scores[i]) << i << ", by itself";
  }
  const auto pair = trainers(m, {all[1], all[2]}, 80); // their keys lie in other blocks
  EXPECT_NEAR(scores[1], static_cast<double>(pair.at(0)), 0.02);
  EXPECT_NEAR(scores[2], static_cast<double>(pair.at(1)), 0.02);
  EXPECT_GT(std::abs(scores[1] - scores[2]), 1e-3) << "scores differ";
  EXPECT_TRUE(together({}).empty());
}

TEST(Scores, AreTheTrainersInF32) { expect_the_trainers<float>(); }
TEST(Scores, AreTheTrainersInBf16) { expect_the_trainers<bf16>(); }

TEST(Scores, TakeWhatWasSaid) {
  const Model<float> m(reward_dims());
  const auto said = infer::Scores<float>::bytes(m.dims(), {}, {2, 40});
  EXPECT_GT(said, sizeof(float) * static_cast<std::size_t>(m.layout.size()));
  auto asked = judge(m, {2, 40});
  EXPECT_EQ(asked({random_tokens(m.dims(), 40, 1)}).size(), 1U) << "the arenas suffice";
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/advantages.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace {

using namespace train::grpo;

TEST(Advantages, AreDeviationsWithinAGroup) {
  const std::vector<double> rewards = {1, 0, 0, 1, /**/ 3, 3, 3, 3, /**/ 0, 0, 0, 4};
  const auto a = advantages(rewards, 4, Spread::deviation);
  const std::vector<double> expected = {1, -1, -1, 1, 0, 0, 0, 0};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_DOUBLE_EQ(a[i], expected[i]) << i;
  EXPECT_NEAR(a[11], 3 / std::sqrt(3.0), 1e-12); // mean 1, squares (1 + 1 + 1 + 9) / 4
  EXPECT_NEAR(std::accumulate(a.begin() + 8, a.end(), 0.0), 0, 1e-12);
  const auto plain = advantages(rewards, 4, Spread::none);
  EXPECT_DOUBLE_EQ(plain[11], 3);
  EXPECT_DOUBLE_EQ(flat_groups(rewards, 4), 1.0 / 3);
}

// Equal rewards whose mean is not exact must not become noise that is divided by noise.
TEST(Advantages, AFlatGroupTeachesNothing) {
  const std::vector<double> rewards(3, 0.1);
  for (const double a : advantages(rewards, 3, Spread::deviation)) EXPECT_EQ(a, 0);
}

TEST(Advantages, WeightsOfTokens) {
  Options o;
  o.max_tokens = 20;
  EXPECT_DOUBLE_EQ(token_weight(o, 5, 4, 50), 0.25); // whole answers
  o.ratio = Options::Ratio::token;
  EXPECT_DOUBLE_EQ(token_weight(o, 5, 4, 50), 1.0 / 20);
  o.mean = Mean::token;
  EXPECT_DOUBLE_EQ(token_weight(o, 5, 4, 50), 1.0 / 50);
  o.mean = Mean::length;
  EXPECT_DOUBLE_EQ(token_weight(o, 5, 4, 50), 1.0 / 80);
}

} // namespace

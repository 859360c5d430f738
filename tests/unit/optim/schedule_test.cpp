// SPDX-License-Identifier: Apache-2.0
// The schedules at every corner, with the numbers of the report (facts of section 7: 14.8T tokens).
#include <gtest/gtest.h>

#include <cmath>

#include "deck/deck.hpp"
#include "optim/schedule.hpp"

namespace {

constexpr std::int64_t kG = 1000 * 1000 * 1000, kT = 1000 * kG;

optim::RateOptions v3() {
  auto o = deck::defaults<optim::RateOptions>();
  o.constant_tokens = 10 * kT, o.cosine_tokens = 4300 * kG, o.tail1_tokens = 333 * kG;
  return o;
}
constexpr std::int64_t kLate = 100000; // a step after the warm-up

TEST(Rate, DefaultsAreTheReports) {
  const auto o = v3();
  EXPECT_EQ(o.peak, 2.2e-4);
  EXPECT_EQ(o.final_rate, 2.2e-5);
  EXPECT_EQ(o.tail_rate, 7.3e-6);
  EXPECT_EQ(o.warmup_steps, 2000);
  EXPECT_EQ(o.constant_tokens + o.cosine_tokens + o.tail1_tokens + 167 * kG, 14800 * kG);
}

TEST(Rate, WarmUpIsLinearInSteps) {
  const auto o = v3();
  EXPECT_DOUBLE_EQ(optim::rate_at(o, 0, 0), 2.2e-4 / 2000); // the first step does move
  EXPECT_DOUBLE_EQ(optim::rate_at(o, 999, kG), 1.1e-4);
  EXPECT_LT(optim::rate_at(o, 1998, kG), 2.2e-4);
  EXPECT_EQ(optim::rate_at(o, 1999, kG), 2.2e-4);
  EXPECT_EQ(optim::rate_at(o, 2000, kG), 2.2e-4);
  for (int step = 1; step < 2000; ++step)
    ASSERT_GT(optim::rate_at(o, step, 0), optim::rate_at(o, step - 1, 0));
}

TEST(Rate, ConstantCosineAndTails) {
  const auto o = v3();
  const auto at = [&](const std::int64_t tokens) { return optim::rate_at(o, kLate, tokens); };
  EXPECT_EQ(at(10 * kT - 1), 2.2e-4);
  EXPECT_EQ(at(10 * kT), 2.2e-4);
  EXPECT_NEAR(at(10 * kT + 1), 2.2e-4, 1e-12);
  EXPECT_NEAR(at(10 * kT + 1075 * kG), 2.2e-5 + 0.5 * 1.98e-4 * (1 + std::sqrt(0.5)),
              1e-15);                                                 // a quarter
  EXPECT_NEAR(at(10 * kT + 2150 * kG), (2.2e-4 + 2.2e-5) / 2, 1e-15); // a half
  EXPECT_NEAR(at(14300 * kG - 1), 2.2e-5, 1e-12);
  EXPECT_EQ(at(14300 * kG), 2.2e-5);
  EXPECT_EQ(at(14633 * kG - 1), 2.2e-5);
  EXPECT_EQ(at(14633 * kG), 7.3e-6);
  EXPECT_EQ(at(20 * kT), 7.3e-6);
  double before = at(10 * kT);
  for (int i = 1; i <= 4300; ++i) { // the cosine falls, and nowhere jumps
    const double now = at(10 * kT + i * kG);
    ASSERT_LT(now, before);
    ASSERT_LT(before - now, 1e-7);
    before = now;
  }
}

TEST(Rate, PartsMayBeLeftOut) {
  auto o = v3();
  o.tail1_tokens = 0; // the first tail lasts
  EXPECT_EQ(optim::rate_at(o, kLate, 20 * kT), 2.2e-5);
  o.cosine_tokens = 0; // the peak lasts
  EXPECT_EQ(optim::rate_at(o, kLate, 20 * kT), 2.2e-4);
  o.warmup_steps = 0;
  EXPECT_EQ(optim::rate_at(o, 0, 0), 2.2e-4);
  o.constant_tokens = 0, o.cosine_tokens = 1000; // a cosine from the start
  EXPECT_EQ(optim::rate_at(o, 0, 0), 2.2e-4);
  EXPECT_NEAR(optim::rate_at(o, 5, 500), (2.2e-4 + 2.2e-5) / 2, 1e-15);
}

TEST(Balance, GammaEndsAt14300G) {
  auto o = deck::defaults<optim::BalanceOptions>();
  EXPECT_EQ(o.alpha, 1e-4);
  EXPECT_EQ(optim::gamma_at(o, 20 * kT), 1e-3); // never, by default
  o.gamma_tokens = 14300 * kG;
  EXPECT_EQ(optim::gamma_at(o, 0), 1e-3);
  EXPECT_EQ(optim::gamma_at(o, 14300 * kG - 1), 1e-3);
  EXPECT_EQ(optim::gamma_at(o, 14300 * kG), 0);
}

TEST(Mtp, LambdaChangesAt10T) {
  auto o = deck::defaults<optim::MtpLossOptions>();
  EXPECT_EQ(optim::lambda_at(o, 20 * kT), 0.3);
  o.lambda_tokens = 10 * kT;
  EXPECT_EQ(optim::lambda_at(o, 10 * kT - 1), 0.3);
  EXPECT_EQ(optim::lambda_at(o, 10 * kT), 0.1);
  EXPECT_EQ(optim::lambda_at(o, 14 * kT), 0.1);
}

// 3072 to 15360 sequences over the first 469G tokens.
TEST(BatchRamp, OfTheReport) {
  const auto at = [](const std::int64_t tokens) {
    return optim::batch_at(3072, 15360, 469 * kG, 64, tokens);
  };
  EXPECT_EQ(at(0), 3072);
  EXPECT_EQ(at(469 * kG / 2), 9216);
  EXPECT_LT(at(469 * kG - 1), 15360);
  EXPECT_EQ(at(469 * kG), 15360);
  EXPECT_EQ(at(14 * kT), 15360);
  std::int64_t before = 3072;
  for (std::int64_t tokens = 0; tokens <= 480 * kG; tokens += 97 * 1000 * 1000) {
    const auto now = at(tokens);
    ASSERT_GE(now, before);
    ASSERT_EQ(now % 64, 0);
    ASSERT_LE(now - before, 64);
    before = now;
  }
}

TEST(BatchRamp, Corners) {
  EXPECT_EQ(optim::batch_at(0, 48, 0, 8, 0), 48);        // no ramp
  EXPECT_EQ(optim::batch_at(8, 48, 1000, 16, 0), 16);    // never below the multiple
  EXPECT_EQ(optim::batch_at(16, 48, 1000, 16, 999), 32); // rounded down
  EXPECT_EQ(optim::batch_at(48, 48, 1000, 16, 10), 48);
}

} // namespace

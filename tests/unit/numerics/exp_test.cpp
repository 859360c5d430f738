// SPDX-License-Identifier: Apache-2.0
#include "numerics/exp.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "numerics/bf16.hpp"

namespace {

using numerics::fast_exp;

double units_off(float value, double exact) {
  const float nearest = static_cast<float>(exact);
  if (std::isinf(nearest) || std::isinf(value)) return nearest == value ? 0 : HUGE_VAL;
  return std::abs(value - exact) / (std::nextafterf(nearest, HUGE_VALF) - nearest);
}

// Every 257th float of the range whose exponential is neither 0 nor infinite, both signs, subnormal results included.
TEST(FastExp, IsWithinOneUnitOfExp) {
  double worst = 0;
  for (std::uint64_t bits = 0; bits < (1ULL << 32); bits += 257) {
    const auto low = static_cast<std::uint32_t>(bits);
    float x;
    memcpy(&x, &low, 4);
    if (!(x > -110.0f && x < 95.0f)) continue;
    worst = std::max(worst, units_off(fast_exp(x), std::exp(static_cast<double>(x))));
  }
  EXPECT_LT(worst, 1.02);
  EXPECT_GT(worst, 0.5); // the sweep has seen something
}

TEST(FastExp, ExtremesAreThoseOfExp) {
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-0.0f), 1.0f);
  EXPECT_EQ(fast_exp(-HUGE_VALF), 0.0f);
  EXPECT_EQ(fast_exp(-1e30f), 0.0f);
  EXPECT_EQ(fast_exp(HUGE_VALF), HUGE_VALF);
  EXPECT_EQ(fast_exp(88.8f), HUGE_VALF);
  EXPECT_LT(fast_exp(88.7f), HUGE_VALF);
  EXPECT_TRUE(std::isnan(fast_exp(NAN)));
  EXPECT_TRUE(std::isnan(fast_exp(-NAN)));
}

// One element alone and in the middle of a vectorised loop: the same bits.
TEST(FastExp, BitsDoNotDependOnThePlace) {
  std::vector<float> x(1003), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = -20.0f + 0.041f * static_cast<float>(i);
#pragma GCC ivdep
  for (std::size_t i = 0; i < x.size(); ++i) y[i] = fast_exp(x[i]);
  for (std::size_t i = 0; i < x.size(); ++i) {
    volatile float alone = x[i];
    ASSERT_EQ(y[i], fast_exp(alone)) << x[i];
  }
}

TEST(Sigmoid, IsRightInTheTailsToo) {
  for (const double x : {-87.0, -30.0, -3.0, -1e-4, 0.0, 0.7, 12.0, 60.0}) {
    const double exact = 1 / (1 + std::exp(-x));
    EXPECT_NEAR(numerics::sigmoid(static_cast<float>(x)), exact, 3e-7 * exact) << x;
    EXPECT_NEAR(numerics::silu(static_cast<float>(x)), x * exact, 3e-7 * std::abs(x * exact)) << x;
    const float s = numerics::sigmoid(static_cast<float>(x));
    EXPECT_NEAR(numerics::silu_slope(static_cast<float>(x), s), exact + x * exact * (1 - exact),
                3e-6)
        << x;
  }
  EXPECT_EQ(numerics::sigmoid(-89.0f), 0.0f); // e^89 is infinite: subnormal results are flushed
  EXPECT_EQ(numerics::sigmoid(-HUGE_VALF), 0.0f);
  EXPECT_EQ(numerics::sigmoid(HUGE_VALF), 1.0f);
  EXPECT_TRUE(std::isnan(numerics::sigmoid(NAN)));
}

} // namespace

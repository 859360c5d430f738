// SPDX-License-Identifier: Apache-2.0
// Philox 4x32-10 against the published vectors of Random123 (kat_vectors). Our counter is
// (index low, index high, step low, step high ^ purpose * constant); purpose 0 leaves it plain.
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "base/random.hpp"

namespace {

using base::random::Purpose;
constexpr auto kPlain = static_cast<Purpose>(0);

void expect_block(const base::random::Block &block, std::initializer_list<std::uint32_t> known) {
  int i = 0;
  for (const std::uint32_t word : known) EXPECT_EQ(block.v[i++], word) << "word " << i;
}

TEST(Philox, GivesThePublishedVectors) {
  using base::random::philox;
  expect_block(philox(0, kPlain, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  expect_block(philox(~0ULL, kPlain, ~0ULL, ~0ULL),
               {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  expect_block(philox(0x299f31d0'a4093822, kPlain, 0x03707344'13198a2e, 0x85a308d3'243f6a88),
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST(Philox, PurposeIsFoldedIntoTheHighCounterWord) {
  const std::uint64_t step = static_cast<std::uint64_t>(0x85EBCA6BU * 2) << 32;
  expect_block(base::random::philox(0, Purpose::sample_order, step, 0),
               {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
}

TEST(Philox, EveryArgumentMatters) {
  using base::random::bits;
  const std::set<std::uint64_t> all{
      bits(1, Purpose::init, 2, 3),          bits(2, Purpose::init, 2, 3),
      bits(1, Purpose::fim, 2, 3),           bits(1, Purpose::init, 3, 3),
      bits(1, Purpose::init, 2, 4),          bits(1ULL << 40, Purpose::init, 2, 3),
      bits(1, Purpose::init, 1ULL << 40, 3), bits(1, Purpose::init, 2, 1ULL << 40)};
  EXPECT_EQ(all.size(), 8U);
}

TEST(Random, UniformHasTheMomentsOfItsLaw) {
  const int n = 100'000;
  double sum = 0, squares = 0, low = 1, high = 0;
  for (int i = 0; i < n; ++i) {
    const double u = base::random::uniform(7, Purpose::test, 0, i);
    sum += u;
    squares += u * u;
    low = std::min(low, u);
    high = std::max(high, u);
  }
  EXPECT_GE(low, 0.0);
  EXPECT_LT(high, 1.0);
  EXPECT_LT(low, 1e-3);
  EXPECT_GT(high, 1 - 1e-3);
  EXPECT_NEAR(sum / n, 0.5, 4 * std::sqrt(1.0 / 12 / n)); // four standard errors
  EXPECT_NEAR(squares / n, 1.0 / 3, 4 * std::sqrt(4.0 / 45 / n));
}

TEST(Random, NormalHasTheMomentsOfItsLaw) {
  const int n = 100'000;
  double m1 = 0, m2 = 0, m4 = 0;
  for (int i = 0; i < n; ++i) {
    const double x = base::random::normal(7, Purpose::test, 1, i);
    m1 += x;
    m2 += x * x;
    m4 += x * x * x * x;
  }
  EXPECT_NEAR(m1 / n, 0, 4 / std::sqrt(n));
  EXPECT_NEAR(m2 / n, 1, 4 * std::sqrt(2.0 / n));
  EXPECT_NEAR(m4 / n, 3, 4 * std::sqrt(96.0 / n));
}

} // namespace

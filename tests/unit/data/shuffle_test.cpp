// SPDX-License-Identifier: Apache-2.0
// Shuffles without memory, and the draws of fill-in-the-middle.
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "data/fim.hpp"
#include "data/shuffle.hpp"

namespace {

TEST(Shuffle, IsABijection) {
  for (std::uint64_t size :
       {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 255, 257, 1000, 4096, 4097, 70000}) {
    const data::Shuffle shuffle(size, 42, 7);
    std::vector<bool> seen(size, false);
    for (std::uint64_t i = 0; i < size; ++i) {
      const std::uint64_t at = shuffle(i);
      ASSERT_LT(at, size);
      ASSERT_FALSE(seen[at]) << "size " << size;
      seen[at] = true;
    }
  }
  const data::Shuffle huge(std::uint64_t{1} << 40 | 12345, 1, 2);
  std::set<std::uint64_t> images;
  for (std::uint64_t i = 0; i < 5000; ++i) images.insert(huge(i));
  EXPECT_EQ(images.size(), 5000U);
  EXPECT_LT(*images.rbegin(), huge.size());
  EXPECT_GT(*images.rbegin(), huge.size() / 10 * 9);
}

TEST(Shuffle, IsFairAndDependsOnSeedAndStream) {
  // Where item 0 lands over many streams: uniform, within four standard deviations a cell.
  constexpr std::uint64_t kSize = 10, kTrials = 20000;
  std::vector<int> cells(kSize, 0);
  for (std::uint64_t stream = 0; stream < kTrials; ++stream)
    ++cells[data::Shuffle(kSize, 3, stream)(0)];
  for (const int count : cells) EXPECT_NEAR(count, 2000, 4 * 43);
  const data::Shuffle a(1000, 1, 1), b(1000, 2, 1), c(1000, 1, 2);
  int same_b = 0, same_c = 0, fixed = 0, next = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    same_b += a(i) == b(i);
    same_c += a(i) == c(i);
    fixed += a(i) == i;
    next += i > 0 && a(i) == a(i - 1) + 1;
  }
  for (const int count : {same_b, same_c, fixed, next}) EXPECT_LT(count, 8);
}

TEST(Fim, CutsAreUniformAndOrdered) {
  constexpr std::int64_t kLength = 9;
  std::vector<int> first(kLength + 1, 0);
  int chosen = 0;
  for (std::int64_t d = 0; d < 20000; ++d) {
    const data::FimCut cut =
        data::fim_cut({1, 2, 3}, d, kLength, [](std::int64_t) { return true; });
    ASSERT_TRUE(0 <= cut.first && cut.first <= cut.second && cut.second <= kLength);
    ++first[static_cast<std::size_t>(cut.first)];
    chosen += data::fim_chosen({1, 2, 3}, d, kLength, 0.1);
    ASSERT_FALSE(data::fim_chosen({1, 2, 3}, d, 2, 1.0)) << "too short";
  }
  EXPECT_NEAR(chosen, 2000, 4 * 43);
  // The lesser of two uniform places on 0..9: P(first = k) = (2 (9 - k) + 1) / 100.
  for (std::int64_t k = 0; k <= kLength; ++k)
    EXPECT_NEAR(first[static_cast<std::size_t>(k)], 200.0 * static_cast<double>(2 * (9 - k) + 1),
                4 * 60)
        << k;
  const data::FimCut late =
      data::fim_cut({1, 2, 3}, 0, kLength, [](std::int64_t i) { return i == 0; });
  EXPECT_TRUE(late.second == kLength || late.second == 0)
      << "moved on to the end where no character begins";
}

} // namespace

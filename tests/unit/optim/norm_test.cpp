// SPDX-License-Identifier: Apache-2.0
// The tree of the law of sums, the gradient norm, and the balancing of experts.
#include <gtest/gtest.h>

#include "optim/balance.hpp"
#include "optim/norm.hpp"
#include "tests/support/arrays.hpp"

namespace {

using support::Values;
using tensor::Index;
using tensor::Vec;

// Neighbours are added level by level; an odd last one moves up. Written out for each length.
TEST(TreeSum, OrderOfAdditions) {
  const double a = 1, b = 0x1p-53, c = 0x1p-53, d = 0x1p-52, e = -1;
  EXPECT_EQ(optim::tree_sum({}), 0);
  EXPECT_EQ(optim::tree_sum({a}), a);
  EXPECT_EQ(optim::tree_sum({a, b}), a + b);
  EXPECT_EQ(optim::tree_sum({a, b, c}), (a + b) + c);
  EXPECT_EQ(optim::tree_sum({a, b, c, d}), (a + b) + (c + d));
  EXPECT_NE((a + b) + (c + d), ((a + b) + c) + d); // so the order is seen
  EXPECT_EQ(optim::tree_sum({a, b, c, d, e}), ((a + b) + (c + d)) + e);
  EXPECT_EQ(optim::tree_sum({a, b, c, d, e, a}), ((a + b) + (c + d)) + (e + a));
  EXPECT_EQ(optim::tree_sum({a, b, c, d, e, a, c}), ((a + b) + (c + d)) + ((e + a) + c));
  EXPECT_EQ(optim::tree_sum({b, a, c, d, e, a, c, b}), ((b + a) + (c + d)) + ((e + a) + (c + b)));
}

class Norms : public ::testing::Test {
protected:
  tensor::Arena arena{"test", 1 << 20};
  tensor::Context ctx{tensor::Exec(), arena};
};

TEST_F(Norms, SquareSumFollowsDouble) {
  optim::SquareSum square_sum(100000);
  for (const Index n : {1, 5, 16, 17, 4095, 4096, 4097, 8192, 12289, 100000}) {
    const Values x = support::normal(n, n);
    const double expected = support::dot(x, x);
    EXPECT_NEAR(square_sum(ctx, support::vec<float>(x)), expected, 1e-13 * expected) << n;
  }
}

// Squares of floats up to 1e30 and down to 1e-30 neither overflow nor vanish.
TEST_F(Norms, SquareSumHasTheRangeOfDouble) {
  optim::SquareSum square_sum(4);
  EXPECT_NEAR(square_sum(ctx, support::vec<float>({1e30, 0, 0, 1e30})) / 2e60, 1, 1e-6);
  EXPECT_NEAR(square_sum(ctx, support::vec<float>({1e-30, 0, 1e-30})) / 2e-60, 1, 1e-6);
  EXPECT_TRUE(std::isnan(square_sum(ctx, support::vec<float>({1, NAN}))));
}

// Blocks of 4096 elements are units: the tree over the blocks' own sums gives the bits of the whole.
TEST_F(Norms, BlocksAreTheUnits) {
  constexpr Index n = 5 * optim::kNormBlock + 77;
  const Values x = support::normal(n, 3);
  optim::SquareSum square_sum(n);
  std::vector<double> blocks;
  for (Index first = 0; first < n; first += optim::kNormBlock)
    blocks.push_back(square_sum(
        ctx, support::vec<float>(
                 Values(x.begin() + first, x.begin() + std::min(n, first + optim::kNormBlock)))));
  EXPECT_EQ(square_sum(ctx, support::vec<float>(x)), optim::tree_sum(blocks));
}

TEST_F(Norms, ScratchTooSmallIsAFault) {
  optim::SquareSum square_sum(4096);
  EXPECT_THROW(square_sum(ctx, support::vec<float>(Values(4097, 1.0))), base::Fault);
}

TEST_F(Norms, BiasMovesTowardsTheMean) {
  const std::vector<std::int64_t> load = {10, 0, 4, 6, 5}; // mean 5
  const Vec<std::int64_t> load_E("load", 5);
  const auto host = Kokkos::create_mirror_view(load_E);
  for (std::size_t e = 0; e < load.size(); ++e) host(e) = load[e];
  Kokkos::deep_copy(load_E, host);
  const Vec<float> bias_E = support::vec<float>({0.5, 0.5, 0.5, -0.5, 0.5});
  optim::move_bias(ctx, 0.125, load_E, bias_E);
  ctx.exec.fence();
  EXPECT_EQ(support::download(bias_E), (Values{0.375, 0.625, 0.625, -0.625, 0.5}));
}

// The sign is taken in whole numbers: a load one below a mean that is not whole counts as below, at any size.
TEST_F(Norms, BiasSeesTheSmallestExcess) {
  const Vec<std::int64_t> load_E("load", 3);
  const auto host = Kokkos::create_mirror_view(load_E);
  const std::int64_t much = (std::int64_t{1} << 55);
  host(0) = much, host(1) = much, host(2) = much + 1;
  Kokkos::deep_copy(load_E, host);
  const Vec<float> bias_E("bias", 3);
  optim::move_bias(ctx, 1.0, load_E, bias_E);
  ctx.exec.fence();
  EXPECT_EQ(support::download(bias_E), (Values{1, 1, -1}));
}

TEST(Violation, IsTheExcessOfTheLargest) {
  const std::int64_t even[] = {3, 3, 3}, uneven[] = {9, 0, 3, 0}, none[] = {0, 0};
  EXPECT_EQ(optim::max_violation(even, 3), 0);
  EXPECT_EQ(optim::max_violation(uneven, 4), 2);
  EXPECT_EQ(optim::max_violation(none, 2), 0);
}

} // namespace

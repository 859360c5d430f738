// SPDX-License-Identifier: Apache-2.0
#include "layers/reward_head/reward_head.hpp"

#include <gtest/gtest.h>

#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace reward_head = layers::reward_head;

constexpr std::size_t kT = 23, kD = 37;
constexpr float kScale = 0.37f;
const std::vector<Index> kRows = {2, 22, 7, 8, 0, 15};

template <class S> std::vector<S> rewards(const std::vector<S> &n, const std::vector<S> &w) {
  std::vector<S> r;
  for (const Index row : kRows) {
    r.emplace_back(0);
    for (std::size_t d = 0; d < kD; ++d)
      r.back() += n[static_cast<std::size_t>(row) * kD + d] * w[d];
  }
  return r;
}
template <class S> S loss_of(const std::vector<S> &n, const std::vector<S> &w) {
  const auto r = rewards(n, w);
  S sum = 0;
  for (std::size_t i = 0; i < r.size(); i += 2) sum += std::log(1.0 + std::exp(r[i + 1] - r[i]));
  return static_cast<double>(kScale) * sum;
}

template <class A> struct Case {
  Values n, w;
  tensor::Arena arena{"test", 1 << 12};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Mat<A> n_TD, dn_TD{"dn", kT, kD};
  tensor::Vec<float> w_D, r_P{"r", 6}, dr_P{"dr", 6}, margin_I{"m", 3}, loss_I{"loss", 3},
      dw_D{"dw", kD};
  tensor::Vec<Index> row_P{"row", 6};
  explicit Case(double spread = 0.3)
      : n(support::normal<A>(kT * kD, 1)), w(support::normal(kD, 2, spread)),
        n_TD(support::mat<A>(n, kT, kD)), w_D(support::vec<float>(w)) {
    for (std::size_t p = 0; p < 6; ++p) row_P(p) = kRows[p];
    Kokkos::deep_copy(dn_TD, A(7.0f));
    Kokkos::deep_copy(dw_D, 1.0f);
    reward_head::forward<A>(ctx, n_TD, w_D, row_P, r_P);
    reward_head::pairs(ctx, r_P, kScale, margin_I, loss_I, dr_P);
    reward_head::backward_input<A>(ctx, dr_P, w_D, row_P, dn_TD);
    reward_head::backward_weight<A>(ctx, dr_P, n_TD, row_P, dw_D);
    ctx.exec.fence();
  }
};

TEST(RewardHead, EqualsReferenceAndComplexStep) {
  const Case<float> c;
  EXPECT_LT(support::relative_error(support::download(c.r_P), rewards(c.n, c.w)),
            support::float_bound(kD));
  double loss = 0;
  for (int i = 0; i < 3; ++i) {
    loss += static_cast<double>(kScale) * c.loss_I(i);
    EXPECT_EQ(c.margin_I(i), c.r_P(2 * i) - c.r_P(2 * i + 1));
  }
  EXPECT_NEAR(loss, loss_of(c.n, c.w), 1e-6);
  using V = std::vector<Complex>;
  const V n = support::lift(c.n), w = support::lift(c.w);
  const Values dn = support::gradient([&](const V &v) { return loss_of(v, w); }, c.n);
  Values dw = support::gradient([&](const V &v) { return loss_of(n, v); }, c.w);
  EXPECT_LT(support::relative_error(support::download(c.dn_TD), dn), support::float_bound(kD));
  for (double &v : dw) v += 1.0; // added to what was there
  EXPECT_LT(support::relative_error(support::download(c.dw_D), dw), support::float_bound(kD));
  for (std::size_t d = 0; d < kD; ++d)
    EXPECT_EQ(c.dn_TD(1, d), 0.0f); // a row that is no answer's last
}

TEST(RewardHead, Bf16WithinBounds) {
  const Case<numerics::bf16> c;
  EXPECT_LT(support::relative_error(support::download(c.r_P), rewards(c.n, c.w)),
            support::float_bound(kD)); // the sum is made in FP32
  const Values dn = support::gradient(
      [&](const std::vector<Complex> &v) { return loss_of(v, support::lift(c.w)); }, c.n);
  EXPECT_LT(support::relative_error(support::download(c.dn_TD), dn),
            support::bound<numerics::bf16>(1, 1));
}

TEST(RewardHead, FarMarginsStayFiniteAndExact) {
  const Case<float> c(1e6);
  for (int i = 0; i < 3; ++i) {
    ASSERT_GT(std::abs(c.margin_I(i)), 1e4f);
    EXPECT_EQ(c.loss_I(i), c.margin_I(i) < 0 ? -c.margin_I(i) : 0.0f);
    EXPECT_EQ(c.dr_P(2 * i), c.margin_I(i) < 0 ? -kScale : 0.0f);
    EXPECT_EQ(c.dr_P(2 * i + 1), -c.dr_P(2 * i));
  }
}

TEST(RewardHead, NoAnswers) {
  Case<float> c;
  const tensor::Vec<float> none("none", 0);
  const tensor::Vec<Index> rows("rows", 0);
  const Values before = support::download(c.dw_D);
  reward_head::forward<float>(c.ctx, c.n_TD, c.w_D, rows, none);
  reward_head::pairs(c.ctx, none, kScale, none, none, none);
  reward_head::backward_input<float>(c.ctx, none, c.w_D, rows, c.dn_TD);
  reward_head::backward_weight<float>(c.ctx, none, c.n_TD, rows, c.dw_D);
  c.ctx.exec.fence();
  EXPECT_EQ(support::download(c.dn_TD), Values(kT * kD, 0.0));
  EXPECT_EQ(support::download(c.dw_D), before);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "layers/head_loss/head_loss.hpp"

#include <gtest/gtest.h>

#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace head_loss = layers::head_loss;

constexpr float kScale = 0.37f;

// Plain loops over any scalar, from the equations.
template <class S>
std::vector<S> reference(const std::vector<S> &x, const std::vector<S> &w,
                         const std::vector<int> &target, std::size_t D) {
  const std::size_t W = w.size() / D;
  std::vector<S> loss;
  for (std::size_t t = 0; t < target.size(); ++t) {
    std::vector<S> l(W);
    S sum = 0;
    for (std::size_t v = 0; v < W; ++v) {
      for (std::size_t d = 0; d < D; ++d) l[v] += x[t * D + d] * w[v * D + d];
      sum += std::exp(l[v]);
    }
    loss.push_back(target[t] < 0 ? S(0) : std::log(sum) - l[target[t]]);
  }
  return loss;
}

template <class A> struct Case {
  std::size_t T, D, W;
  std::vector<int> target;
  Values x, w;
  tensor::Arena arena{"test", 1 << 26};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Vec<std::int32_t> target_T;
  tensor::Vec<float> lse_T, loss_T;
  tensor::Mat<A> x_TD, w_WD, dx_TD;
  tensor::Mat<float> dw_WD;

  Case(std::size_t t, std::size_t d, std::size_t v, double spread = 1, bool fused = false)
      : T(t), D(d), W(v), target(t) {
    x = support::normal<A>(T * D, 1), w = support::normal<A>(W * D, 2, spread / std::sqrt(D));
    target_T = tensor::Vec<std::int32_t>("target", T);
    for (std::size_t i = 0; i < T; ++i)
      target_T(i) = target[i] = i % 5 == 3 ? -1 : static_cast<int>((i * i * 7 + 3) % W);
    x_TD = support::mat<A>(x, T, D), w_WD = support::mat<A>(w, W, D),
    dx_TD = tensor::Mat<A>("dx", T, D);
    dw_WD = support::mat<float>(Values(W * D, 1.0), W, D);
    lse_T = tensor::Vec<float>("lse", T), loss_T = tensor::Vec<float>("loss", T);
    if (fused) {
      head_loss::forward_backward<A>(ctx, x_TD, w_WD, target_T, kScale, lse_T, loss_T, dx_TD,
                                     dw_WD);
    } else {
      head_loss::forward<A>(ctx, x_TD, w_WD, target_T, lse_T, loss_T);
      head_loss::backward_input<A>(ctx, x_TD, w_WD, target_T, lse_T, kScale, dx_TD);
      head_loss::backward_weight<A>(ctx, x_TD, w_WD, target_T, lse_T, kScale, dw_WD);
    }
    ctx.exec.fence();
  }
  template <class S> S loss(const std::vector<S> &xs, const std::vector<S> &ws) const {
    return support::weighted(Values(T, kScale), reference(xs, ws, target, D));
  }
  Values dx() const { return support::download(dx_TD); }
  Values dw() const {
    Values v = support::download(dw_WD);
    for (double &e : v) e -= 1.0;
    return v;
  }
};

TEST(HeadLoss, ForwardEqualsReference) {
  for (const std::size_t W : {1, 3, 32, 33, 1000}) {
    const Case<float> c(9, 20, W, 3.0);
    EXPECT_LT(support::max_error(support::download(c.loss_T), reference(c.x, c.w, c.target, c.D)),
              4e-6)
        << W;
    EXPECT_EQ(c.loss_T(3), 0.0f); // no target, no loss
  }
}

TEST(HeadLoss, LargeLogitsDoNotOverflow) {
  const Case<float> c(9, 20, 64, 200.0);
  EXPECT_LT(
      support::relative_error(support::download(c.loss_T), reference(c.x, c.w, c.target, c.D)),
      1e-6);
  EXPECT_LT(support::norm(c.dx()), 1e4);
  EXPECT_GT(support::norm(c.dx()), 1.0);
}

TEST(HeadLoss, GradientsEqualComplexStep) {
  const Case<float> c(7, 6, 19, 2.0);
  using V = std::vector<Complex>;
  const V x = support::lift(c.x), w = support::lift(c.w);
  EXPECT_LT(support::relative_error(
                c.dx(), support::gradient([&](const V &v) { return c.loss(v, w); }, c.x)),
            support::float_bound(40));
  EXPECT_LT(support::relative_error(
                c.dw(), support::gradient([&](const V &v) { return c.loss(x, v); }, c.w)),
            support::float_bound(40));
  for (std::size_t d = 0; d < c.D; ++d) EXPECT_EQ(c.dx_TD(3, d), 0.0f);
}

// More rows than a chunk holds, the last chunk not full.
TEST(HeadLoss, DotProductOnLargerSizes) {
  const Case<float> c(head_loss::kChunkRows + 77, 24, 150, 2.0);
  const Values vx = support::normal(c.x.size(), 5), vw = support::normal(c.w.size(), 6);
  const double lhs =
      c.loss(support::shifted(c.x, vx), support::shifted(c.w, vw)).imag() / support::kStep;
  const double rhs = support::dot(c.dx(), vx) + support::dot(c.dw(), vw);
  const double size = support::norm(c.dx()) + support::norm(c.dw());
  EXPECT_LT(std::abs(lhs - rhs), 2e-6 * size);
  EXPECT_GT(std::abs(lhs), 1e-3 * size);
}

TEST(HeadLoss, Bf16WithinBounds) {
  using numerics::bf16;
  const Case<bf16> c(60, 64, 200, 2.0);
  Case<float> f(60, 64, 200, 2.0);
  f.x_TD = support::mat<float>(c.x, 60, 64), f.w_WD = support::mat<float>(c.w, 200, 64);
  f.dw_WD = support::mat<float>(Values(c.w.size(), 1.0), 200, 64);
  head_loss::forward_backward<float>(f.ctx, f.x_TD, f.w_WD, f.target_T, kScale, f.lse_T, f.loss_T,
                                     f.dx_TD, f.dw_WD);
  EXPECT_LT(support::relative_error(support::download(c.loss_T), support::download(f.loss_T)),
            support::float_bound(64));
  EXPECT_LT(support::relative_error(c.dx(), f.dx()), support::bound<bf16>(2, 200));
  EXPECT_LT(support::relative_error(c.dw(), f.dw()), support::bound<bf16>(1, 60));
}

template <class A> void fused_equals_verbs() {
  for (const std::size_t T : {std::size_t(5), std::size_t(head_loss::kChunkRows + 33)}) {
    const Case<A> verbs(T, 40, 97, 2.0, false), fused(T, 40, 97, 2.0, true);
    EXPECT_EQ(support::download(verbs.lse_T), support::download(fused.lse_T));
    EXPECT_EQ(support::download(verbs.loss_T), support::download(fused.loss_T));
    EXPECT_EQ(verbs.dx(), fused.dx());
    EXPECT_EQ(support::download(verbs.dw_WD), support::download(fused.dw_WD));
  }
}
TEST(HeadLoss, FusedEqualsTheVerbsBitForBit) {
  fused_equals_verbs<float>();
  fused_equals_verbs<numerics::bf16>();
}

// --- a scale of each row ------------------------------------------------------------------------------------------------

template <class A> struct Scaled {
  Case<A> c;
  Values scale;
  tensor::Vec<float> scale_T;
  tensor::Mat<A> dx_TD;
  tensor::Mat<float> dw_WD;
  Scaled(std::size_t T, std::size_t D, std::size_t W, Values s, bool fused)
      : c(T, D, W, 2.0), scale(std::move(s)), scale_T(support::vec<float>(scale)),
        dx_TD("dx", T, D), dw_WD("dw", W, D) {
    const tensor::Vec<const float> lse = c.lse_T, each = scale_T;
    if (fused) {
      head_loss::backward<A>(c.ctx, c.x_TD, c.w_WD, c.target_T, lse, each, dx_TD, dw_WD);
    } else {
      head_loss::backward_input<A>(c.ctx, c.x_TD, c.w_WD, c.target_T, lse, each, dx_TD);
      head_loss::backward_weight<A>(c.ctx, c.x_TD, c.w_WD, c.target_T, lse, each, dw_WD);
    }
    c.ctx.exec.fence();
  }
};

TEST(HeadLoss, RowScalesEqualComplexStep) {
  const Values scale = {0.3, -1.2, 0.0, 7.0, 2.5, -0.4, 1.0}; // row 3 has no target
  const Scaled<float> s(7, 6, 19, scale, true);
  using V = std::vector<Complex>;
  const auto loss = [&](const V &x, const V &w) {
    return support::weighted(scale, reference(x, w, s.c.target, s.c.D));
  };
  const V x = support::lift(s.c.x), w = support::lift(s.c.w);
  EXPECT_LT(
      support::relative_error(support::download(s.dx_TD),
                              support::gradient([&](const V &v) { return loss(v, w); }, s.c.x)),
      support::float_bound(40));
  EXPECT_LT(
      support::relative_error(support::download(s.dw_WD),
                              support::gradient([&](const V &v) { return loss(x, v); }, s.c.w)),
      support::float_bound(40));
  for (std::size_t d = 0; d < 6; ++d)
    EXPECT_EQ(std::abs(s.dx_TD(2, d)) + std::abs(s.dx_TD(3, d)), 0.0f);
}

template <class A> void row_scales_by_bits() {
  for (const std::size_t T : {std::size_t(5), std::size_t(head_loss::kChunkRows + 33)}) {
    const Values own = support::normal(T, 9);
    const Scaled<A> verbs(T, 40, 97, own, false), fused(T, 40, 97, own, true);
    EXPECT_EQ(support::download(verbs.dx_TD), support::download(fused.dx_TD));
    EXPECT_EQ(support::download(verbs.dw_WD), support::download(fused.dw_WD));
    const Scaled<A> same(T, 40, 97, Values(T, kScale), true);
    EXPECT_EQ(support::download(same.dx_TD), same.c.dx()); // the same number for all rows
    EXPECT_GT(support::max_error(support::download(fused.dx_TD), same.c.dx()), 1e-3);
  }
}
TEST(HeadLoss, RowScalesFusedEqualVerbsAndConstantBitForBit) {
  row_scales_by_bits<float>();
  row_scales_by_bits<numerics::bf16>();
}

TEST(HeadLoss, EntropyEqualsReference) {
  for (const double spread : {1.0, 50.0}) {
    Case<float> c(head_loss::kChunkRows + 9, 20, 33, spread);
    const tensor::Vec<float> entropy_T("entropy", c.T), loss_T("loss", c.T);
    head_loss::forward<float>(c.ctx, c.x_TD, c.w_WD, c.target_T, c.lse_T, loss_T, entropy_T);
    EXPECT_EQ(support::download(loss_T), support::download(c.loss_T)); // asked for or not
    Values expected(c.T, 0.0);
    for (std::size_t t = 0; t < c.T; ++t) {
      Values l(c.W);
      double top = -1e300, sum = 0;
      for (std::size_t v = 0; v < c.W; ++v) {
        for (std::size_t d = 0; d < c.D; ++d) l[v] += c.x[t * c.D + d] * c.w[v * c.D + d];
        top = std::max(top, l[v]);
      }
      for (const double v : l) sum += std::exp(v - top);
      for (const double v : l) {
        const double p = std::exp(v - top) / sum;
        if (p > 0 && c.target[t] >= 0) expected[t] -= p * std::log(p);
      }
    }
    EXPECT_LT(support::max_error(support::download(entropy_T), expected), 2e-5) << spread;
    EXPECT_GT(support::norm(expected), 0.5);
  }
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "layers/ffn/ffn.hpp"

#include <gtest/gtest.h>

#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace ffn = layers::ffn;

// Plain loops over any scalar, from the equations. p holds x, w_gate, w_up, w_down in this order.
template <class S> struct Reference {
  std::size_t T, D, F;
  std::vector<S> operator()(const std::vector<S> &x, const std::vector<S> &w_gate,
                            const std::vector<S> &w_up, const std::vector<S> &w_down) const {
    std::vector<S> y(T * D);
    for (std::size_t t = 0; t < T; ++t)
      for (std::size_t f = 0; f < F; ++f) {
        S g = 0, u = 0;
        for (std::size_t d = 0; d < D; ++d)
          g += x[t * D + d] * w_gate[f * D + d], u += x[t * D + d] * w_up[f * D + d];
        const S h = g / (1.0 + std::exp(-g)) * u;
        for (std::size_t d = 0; d < D; ++d) y[t * D + d] += h * w_down[d * F + f];
      }
    return y;
  }
};

template <class A> struct Case {
  Index T, D, F;
  Values x, w_gate, w_up, w_down, dy;
  tensor::Arena arena{"test", 1 << 26};
  tensor::Context ctx{tensor::Exec(), arena};
  ffn::Weights<A> w;
  ffn::Saved<A> saved;
  ffn::Deltas<A> deltas;
  ffn::Grads acc;
  tensor::Mat<A> x_TD, dy_TD, y_TD, dx_TD;

  Case(Index t, Index d, Index f, bool keep = true) : T(t), D(d), F(f) {
    x = support::normal<A>(t * d, 1), dy = support::normal<A>(t * d, 2);
    w_gate = support::normal<A>(f * d, 3, 1.5 / std::sqrt(d)),
    w_up = support::normal<A>(f * d, 4, 1 / std::sqrt(d));
    w_down = support::normal<A>(d * f, 5, 1 / std::sqrt(f));
    w = {support::mat<A>(w_gate, f, d), support::mat<A>(w_up, f, d), support::mat<A>(w_down, d, f)};
    saved = ffn::allocate<A>(arena, t, f, keep), deltas = ffn::allocate_deltas<A>(arena, t, f);
    x_TD = support::mat<A>(x, t, d), dy_TD = support::mat<A>(dy, t, d);
    y_TD = tensor::Mat<A>("y", t, d), dx_TD = tensor::Mat<A>("dx", t, d);
    const Values ones(f * d, 1.0); // to see that gradients add
    acc = {support::mat<float>(ones, f, d), support::mat<float>(ones, f, d),
           support::mat<float>(ones, d, f)};
    ffn::forward<A>(ctx, w, x_TD, saved, y_TD);
    tensor::Arena::Scope scope(arena);
    const auto full = ffn::refill<A>(ctx, saved);
    ffn::backward_input<A>(ctx, w, dy_TD, full, deltas, dx_TD);
    ffn::backward_weight<A>(ctx, dy_TD, x_TD, full, deltas, acc);
    ctx.exec.fence();
  }
  static Values minus_one(Values v) {
    for (double &e : v) e -= 1.0;
    return v;
  }
  Values dx() const { return support::download(dx_TD); }
  Values dw_gate() const { return minus_one(support::download(acc.w_gate_FD)); }
  Values dw_up() const { return minus_one(support::download(acc.w_up_FD)); }
  Values dw_down() const { return minus_one(support::download(acc.w_down_DF)); }
  template <class S> Reference<S> reference() const {
    return {std::size_t(T), std::size_t(D), std::size_t(F)};
  }
};

TEST(Ffn, ForwardEqualsReference) {
  for (const Index F : {1, 5, 33, 128}) {
    const Case<float> c(6, 40, F);
    EXPECT_LT(support::relative_error(support::download(c.y_TD),
                                      c.reference<double>()(c.x, c.w_gate, c.w_up, c.w_down)),
              support::float_bound(F + 40))
        << F;
  }
}

TEST(Ffn, GradientsEqualComplexStep) {
  const Case<float> c(5, 12, 19);
  const auto lift = support::lift;
  const auto loss = [&](const auto &x, const auto &g, const auto &u, const auto &d) {
    return support::weighted(c.dy, c.reference<Complex>()(x, g, u, d));
  };
  using V = std::vector<Complex>;
  const V x = lift(c.x), g = lift(c.w_gate), u = lift(c.w_up), d = lift(c.w_down);
  const double bound = support::float_bound(60);
  EXPECT_LT(support::relative_error(
                c.dx(), support::gradient([&](const V &v) { return loss(v, g, u, d); }, c.x)),
            bound);
  EXPECT_LT(
      support::relative_error(
          c.dw_gate(), support::gradient([&](const V &v) { return loss(x, v, u, d); }, c.w_gate)),
      bound);
  EXPECT_LT(support::relative_error(
                c.dw_up(), support::gradient([&](const V &v) { return loss(x, g, v, d); }, c.w_up)),
            bound);
  EXPECT_LT(
      support::relative_error(
          c.dw_down(), support::gradient([&](const V &v) { return loss(x, g, u, v); }, c.w_down)),
      bound);
}

TEST(Ffn, DotProductOnLargerSizes) {
  const Case<float> c(70, 96, 176);
  const Values vx = support::normal(c.x.size(), 11), vg = support::normal(c.w_gate.size(), 12, 0.1),
               vu = support::normal(c.w_up.size(), 13, 0.1),
               vd = support::normal(c.w_down.size(), 14, 0.1);
  const auto y =
      c.reference<Complex>()(support::shifted(c.x, vx), support::shifted(c.w_gate, vg),
                             support::shifted(c.w_up, vu), support::shifted(c.w_down, vd));
  const double lhs = support::weighted(c.dy, y).imag() / support::kStep;
  const double rhs = support::dot(c.dx(), vx) + support::dot(c.dw_gate(), vg) +
                     support::dot(c.dw_up(), vu) + support::dot(c.dw_down(), vd);
  // the standard deviation of either side over the choice of v
  const double size =
      support::norm(c.dx()) +
      0.1 * (support::norm(c.dw_gate()) + support::norm(c.dw_up()) + support::norm(c.dw_down()));
  EXPECT_LT(std::abs(lhs - rhs), 2e-6 * size);
  EXPECT_GT(std::abs(lhs), 1e-3 * size);
}

TEST(Ffn, Bf16WithinBounds) {
  using numerics::bf16;
  const Case<bf16> c(40, 96, 176);
  const auto ref = c.reference<double>();
  EXPECT_LT(
      support::relative_error(support::download(c.y_TD), ref(c.x, c.w_gate, c.w_up, c.w_down)),
      support::bound<bf16>(3, 176));
  Case<float> same(1, 96, 176);
  same.T = 40, same.x_TD = support::mat<float>(c.x, 40, 96),
  same.dy_TD = support::mat<float>(c.dy, 40, 96);
  same.w = {support::mat<float>(c.w_gate, 176, 96), support::mat<float>(c.w_up, 176, 96),
            support::mat<float>(c.w_down, 96, 176)};
  const auto saved = ffn::allocate<float>(same.arena, 40, 176, true);
  const auto deltas = ffn::allocate_deltas<float>(same.arena, 40, 176);
  tensor::Mat<float> y("y", 40, 96), dx("dx", 40, 96);
  const ffn::Grads acc{tensor::Mat<float>("g", 176, 96), tensor::Mat<float>("u", 176, 96),
                       tensor::Mat<float>("d", 96, 176)};
  ffn::forward<float>(same.ctx, same.w, same.x_TD, saved, y);
  ffn::backward_input<float>(same.ctx, same.w, same.dy_TD, saved, deltas, dx);
  ffn::backward_weight<float>(same.ctx, same.dy_TD, same.x_TD, saved, deltas, acc);
  EXPECT_LT(support::relative_error(c.dx(), support::download(dx)), support::bound<bf16>(5, 176));
  EXPECT_LT(support::relative_error(c.dw_gate(), support::download(acc.w_gate_FD)),
            support::bound<bf16>(4, 96));
  EXPECT_LT(support::relative_error(c.dw_up(), support::download(acc.w_up_FD)),
            support::bound<bf16>(4, 96));
  EXPECT_LT(support::relative_error(c.dw_down(), support::download(acc.w_down_DF)),
            support::bound<bf16>(3, 96));
}

// Recomputing silu(g) u gives the bits that would have been kept; accumulating adds to what is there.
template <class A> void refill_and_accumulate() {
  const Case<A> kept(33, 24, 40, true), refilled(33, 24, 40, false);
  EXPECT_EQ(support::download(kept.y_TD), support::download(refilled.y_TD));
  EXPECT_EQ(kept.dx(), refilled.dx());
  EXPECT_EQ(kept.dw_down(), refilled.dw_down());
  tensor::Context ctx = kept.ctx;
  const Values old = support::normal<A>(33 * 24, 9);
  const auto dx_TD = support::mat<A>(old, 33, 24);
  ffn::backward_input<A>(ctx, kept.w, kept.dy_TD, kept.saved, kept.deltas, dx_TD, true);
  Values sum = kept.dx();
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += old[i];
  EXPECT_LT(support::relative_error(support::download(dx_TD), sum), support::bound<A>(3, 24));
}
TEST(Ffn, RefillAndAccumulate) {
  refill_and_accumulate<float>();
  refill_and_accumulate<numerics::bf16>();
}

} // namespace

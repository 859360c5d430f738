// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "layers/rms_norm/rms_norm.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace rms_norm = layers::rms_norm;

constexpr double kEps = 1e-3; // large enough to be felt

// Plain loops over any scalar, from the equations.
template <class S>
std::vector<S> reference(const std::vector<S> &x, const std::vector<S> &g, std::size_t tokens) {
  const std::size_t dim = g.size();
  std::vector<S> y(x.size());
  for (std::size_t t = 0; t < tokens; ++t) {
    S mean = 0;
    for (std::size_t d = 0; d < dim; ++d)
      mean += x[t * dim + d] * x[t * dim + d] / static_cast<double>(dim);
    const S r = 1.0 / std::sqrt(mean + kEps);
    for (std::size_t d = 0; d < dim; ++d) y[t * dim + d] = x[t * dim + d] * r * g[d];
  }
  return y;
}

template <class A> struct Case {
  Index tokens, dim;
  Values x, g, dy, old;
  tensor::Arena arena{"test", 1 << 24};
  tensor::Context ctx{tensor::Exec(), arena};
  rms_norm::Saved saved;
  tensor::Mat<A> x_TD, dy_TD, y_TD, dx_TD, dx_TD_acc;
  tensor::Vec<float> g_D, dg_D;

  Case(Index t, Index d)
      : tokens(t), dim(d), x(support::normal<A>(t * d, 1)), g(support::normal(d, 2, 0.2, 1.0)),
        dy(support::normal<A>(t * d, 3)), old(support::normal<A>(t * d, 4)) {
    saved = rms_norm::allocate(arena, t);
    x_TD = support::mat<A>(x, t, d), dy_TD = support::mat<A>(dy, t, d),
    g_D = support::vec<float>(g);
    y_TD = tensor::Mat<A>("y", t, d), dx_TD = tensor::Mat<A>("dx", t, d),
    dx_TD_acc = support::mat<A>(old, t, d);
    dg_D = support::vec<float>(Values(d, 0.5)); // to see that it adds
    rms_norm::forward<A>(ctx, x_TD, g_D, static_cast<float>(kEps), y_TD, saved);
    rms_norm::backward_input<A>(ctx, dy_TD, x_TD, g_D, saved, dx_TD);
    rms_norm::backward_input_acc<A>(ctx, dy_TD, x_TD, g_D, saved, dx_TD_acc);
    rms_norm::backward_weight<A>(ctx, dy_TD, x_TD, saved, dg_D);
    ctx.exec.fence();
  }
  Values dg() const {
    Values v = support::download(dg_D);
    for (double &e : v) e -= 0.5;
    return v;
  }
};

TEST(RmsNorm, ForwardEqualsReference) {
  for (const Index dim : {1, 7, 48, 65, 512}) {
    const Case<float> c(5, dim);
    EXPECT_LT(support::relative_error(support::download(c.y_TD), reference(c.x, c.g, 5)),
              support::float_bound(4))
        << dim;
  }
}

TEST(RmsNorm, GradientsEqualComplexStep) {
  const Case<float> c(5, 47);
  const auto by_x = [&](const std::vector<Complex> &x) {
    return support::weighted(c.dy, reference(x, support::lift(c.g), 5));
  };
  const auto by_g = [&](const std::vector<Complex> &g) {
    return support::weighted(c.dy, reference(support::lift(c.x), g, 5));
  };
  const Values dx = support::gradient(by_x, c.x), dg = support::gradient(by_g, c.g);
  EXPECT_LT(support::relative_error(support::download(c.dx_TD), dx), support::float_bound(16));
  EXPECT_LT(support::relative_error(c.dg(), dg), support::float_bound(16));
  Values sum = c.old;
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += dx[i];
  EXPECT_LT(support::relative_error(support::download(c.dx_TD_acc), sum), support::float_bound(16));
}

TEST(RmsNorm, DotProductOnLargerSizes) {
  const Case<float> c(300, 96);
  const Values vx = support::normal(c.x.size(), 5), vg = support::normal(c.g.size(), 6);
  const double lhs =
      support::weighted(c.dy, reference(support::shifted(c.x, vx), support::shifted(c.g, vg), 300))
          .imag() /
      support::kStep;
  const double rhs = support::dot(support::download(c.dx_TD), vx) + support::dot(c.dg(), vg);
  EXPECT_LT(std::abs(lhs - rhs), 1e-5 * std::abs(lhs));
}

TEST(RmsNorm, Bf16WithinBounds) {
  using numerics::bf16;
  const Case<bf16> c(40, 96);
  EXPECT_LT(support::relative_error(support::download(c.y_TD), reference(c.x, c.g, 40)),
            support::bound<bf16>(1, 96));
  // float kernel on the same numbers
  tensor::Mat<float> x = support::mat<float>(c.x, 40, 96), dy = support::mat<float>(c.dy, 40, 96),
                     dx("dx", 40, 96);
  tensor::Vec<float> dg("dg", 96);
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  rms_norm::backward_input<float>(ctx, dy, x, c.g_D, c.saved, dx);
  rms_norm::backward_weight<float>(ctx, dy, x, c.saved, dg);
  EXPECT_LT(support::relative_error(support::download(c.dx_TD), support::download(dx)),
            support::bound<bf16>(1, 96));
  EXPECT_LT(support::relative_error(c.dg(), support::download(dg)), support::float_bound(40))
      << "0.5 was added to one of them";
}

template <class A> void refill_gives_the_same_bits() {
  const Case<A> c(9, 70);
  tensor::Mat<A> again("again", 9, 70);
  tensor::Context ctx = c.ctx;
  rms_norm::refill<A>(ctx, c.x_TD, c.g_D, c.saved, again);
  EXPECT_EQ(support::download(again), support::download(c.y_TD));
}
TEST(RmsNorm, RefillGivesTheSameBits) {
  refill_gives_the_same_bits<float>();
  refill_gives_the_same_bits<numerics::bf16>();
}

} // namespace

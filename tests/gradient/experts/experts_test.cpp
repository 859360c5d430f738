// SPDX-License-Identifier: Apache-2.0
#include "layers/experts/experts.hpp"

#include <gtest/gtest.h>

#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace experts = layers::experts;
namespace dispatch = layers::dispatch;

// Plain loops over tokens, from the equations: y[t] = sum over the chosen experts.
template <class S> struct Inputs { std::vector<S> x, weight, w_gate, w_up, w_down; };
struct Shape {
  std::size_t T, D, F, E, K;
};
template <class S>
std::vector<S> reference(const Shape &n, const std::vector<int> &expert, const Inputs<S> &in) {
  std::vector<S> y(n.T * n.D);
  for (std::size_t t = 0; t < n.T; ++t)
    for (std::size_t k = 0; k < n.K; ++k)
      for (std::size_t f = 0; f < n.F; ++f) {
        const std::size_t row = expert[t * n.K + k] * n.F + f;
        S g = 0, u = 0;
        for (std::size_t d = 0; d < n.D; ++d) {
          g += in.x[t * n.D + d] * in.w_gate[row * n.D + d];
          u += in.x[t * n.D + d] * in.w_up[row * n.D + d];
        }
        const S h = in.weight[t * n.K + k] * (g / (1.0 + std::exp(-g))) * u;
        for (std::size_t d = 0; d < n.D; ++d)
          y[t * n.D + d] += h * in.w_down[(expert[t * n.K + k] * n.D + d) * n.F + f];
      }
  return y;
}

// Token t goes to experts t, t + 1 ... modulo E - 2, sorted: the two last experts get nobody.
std::vector<int> choice(const Shape &n) {
  std::vector<int> ids;
  for (std::size_t t = 0; t < n.T; ++t) {
    std::vector<int> row;
    for (std::size_t k = 0; k < n.K; ++k) row.push_back(static_cast<int>((t * t + k) % (n.E - 2)));
    std::sort(row.begin(), row.end());
    ids.insert(ids.end(), row.begin(), row.end());
  }
  return ids;
}

template <class A> struct Case {
  Shape n;
  arch::Dims dims;
  std::vector<int> expert;
  Inputs<double> in;
  Values dy;
  tensor::Arena arena{"test", 1 << 27};
  tensor::Context ctx{tensor::Exec(), arena};
  dispatch::Plan plan;
  experts::Weights<A> w;
  experts::Grads acc;
  tensor::Mat<std::int32_t> expert_TK;
  tensor::Mat<float> weight_TK, dweight_TK;
  tensor::Mat<A> x_TD, y_TD, dx_TD;

  explicit Case(const Shape &shape, experts::Keep keep = {true, true},
                const Inputs<double> *given = nullptr)
      : n(shape), expert(choice(shape)) {
    dims.model = n.D, dims.expert_hidden = n.F, dims.experts = n.E, dims.chosen = n.K,
    dims.groups = dims.chosen_groups = 1;
    const std::size_t size = n.E * n.F * n.D;
    in = {support::normal<A>(n.T * n.D, 1), support::normal(n.T * n.K, 2, 0.3, 1.0),
          support::normal<A>(size, 3, 1.5 / std::sqrt(n.D)),
          support::normal<A>(size, 4, 1 / std::sqrt(n.D)),
          support::normal<A>(size, 5, 1 / std::sqrt(n.F))};
    dy = support::normal<numerics::bf16>(n.T * n.D, 6);
    if (given) in = *given;
    w = {support::cube<A>(in.w_gate, n.E, n.F, n.D), support::cube<A>(in.w_up, n.E, n.F, n.D),
         support::cube<A>(in.w_down, n.E, n.D, n.F)};
    const Values ones(size, 1.0); // to see that gradients add, also where an expert has no token
    acc = {support::cube<float>(ones, n.E, n.F, n.D), support::cube<float>(ones, n.E, n.F, n.D),
           support::cube<float>(ones, n.E, n.D, n.F)};
    expert_TK = tensor::Mat<std::int32_t>("expert", n.T, n.K);
    for (std::size_t i = 0; i < expert.size(); ++i) expert_TK.data()[i] = expert[i];
    weight_TK = support::mat<float>(in.weight, n.T, n.K),
    dweight_TK = tensor::Mat<float>("dweight", n.T, n.K);
    x_TD = support::mat<A>(in.x, n.T, n.D), y_TD = tensor::Mat<A>("y", n.T, n.D),
    dx_TD = tensor::Mat<A>("dx", n.T, n.D);
    plan = dispatch::allocate(arena, dims, n.T);
    dispatch::plan(ctx, dims, expert_TK, plan);
    run(keep);
  }
  void run(experts::Keep keep) {
    const Index T = static_cast<Index>(n.T);
    const auto saved = experts::allocate<A>(arena, dims, T, keep);
    const auto deltas = experts::allocate_deltas<A>(arena, dims, T);
    const auto y_AD = arena.mat<A>(n.T * n.K, n.D), dx_AD = arena.mat<A>(n.T * n.K, n.D);
    experts::forward<A>(ctx, plan, weight_TK, w, x_TD, saved, y_AD);
    dispatch::combine<A>(ctx, "test::combine", dims, plan, expert_TK, y_AD, {}, y_TD);
    dispatch::gather<A>(ctx, "test::gather", plan, support::mat<A>(dy, n.T, n.D), deltas.dy_AD);
    const auto full = experts::refill<A>(ctx, plan, weight_TK, x_TD, saved);
    experts::backward_input<A>(ctx, plan, weight_TK, w, full, deltas, dx_AD, dweight_TK);
    experts::backward_weight<A>(ctx, plan, full, deltas, acc);
    dispatch::combine<A>(ctx, "test::combine_gradient", dims, plan, expert_TK, dx_AD, {}, dx_TD);
    ctx.exec.fence();
  }
  Values dx() const { return support::download(dx_TD); }
  Values dweight() const { return support::download(dweight_TK); }
  static Values minus_one(const tensor::Cube<float> &g) {
    Values v = support::download(g);
    for (double &e : v) e -= 1.0;
    return v;
  }
};

Inputs<Complex> lift(const Inputs<double> &in) {
  return {support::lift(in.x), support::lift(in.weight), support::lift(in.w_gate),
          support::lift(in.w_up), support::lift(in.w_down)};
}

TEST(Experts, ForwardEqualsReference) {
  for (const Shape &n : {Shape{1, 8, 3, 4, 1}, Shape{9, 20, 17, 6, 3}, Shape{60, 48, 35, 10, 8}}) {
    const Case<float> c(n);
    EXPECT_LT(support::relative_error(support::download(c.y_TD), reference(n, c.expert, c.in)),
              support::float_bound(100));
  }
}

TEST(Experts, GradientsEqualComplexStep) {
  const Shape n{6, 7, 5, 5, 2};
  const Case<float> c(n);
  const auto by = [&](std::vector<Complex> Inputs<Complex>::*field, const Values &at) {
    Inputs<Complex> z = lift(c.in);
    return support::gradient(
        [&](const std::vector<Complex> &v) {
          z.*field = v;
          return support::weighted(c.dy, reference(n, c.expert, z));
        },
        at);
  };
  const double bound = support::float_bound(60);
  EXPECT_LT(support::relative_error(c.dx(), by(&Inputs<Complex>::x, c.in.x)), bound);
  EXPECT_LT(support::relative_error(c.dweight(), by(&Inputs<Complex>::weight, c.in.weight)), bound);
  EXPECT_LT(support::relative_error(c.minus_one(c.acc.w_gate_EFD),
                                    by(&Inputs<Complex>::w_gate, c.in.w_gate)),
            bound);
  EXPECT_LT(
      support::relative_error(c.minus_one(c.acc.w_up_EFD), by(&Inputs<Complex>::w_up, c.in.w_up)),
      bound);
  EXPECT_LT(support::relative_error(c.minus_one(c.acc.w_down_EDF),
                                    by(&Inputs<Complex>::w_down, c.in.w_down)),
            bound);
}

TEST(Experts, DotProductOnLargerSizes) {
  const Shape n{50, 64, 44, 9, 4};
  const Case<float> c(n);
  const Values vx = support::normal(c.in.x.size(), 11),
               vr = support::normal(c.in.weight.size(), 12),
               vg = support::normal(c.in.w_gate.size(), 13, 0.1),
               vu = support::normal(c.in.w_up.size(), 14, 0.1),
               vd = support::normal(c.in.w_down.size(), 15, 0.1);
  const Inputs<Complex> z{support::shifted(c.in.x, vx), support::shifted(c.in.weight, vr),
                          support::shifted(c.in.w_gate, vg), support::shifted(c.in.w_up, vu),
                          support::shifted(c.in.w_down, vd)};
  const double lhs = support::weighted(c.dy, reference(n, c.expert, z)).imag() / support::kStep;
  const Values dg = c.minus_one(c.acc.w_gate_EFD), du = c.minus_one(c.acc.w_up_EFD),
               dd = c.minus_one(c.acc.w_down_EDF);
  const double rhs = support::dot(c.dx(), vx) + support::dot(c.dweight(), vr) +
                     support::dot(dg, vg) + support::dot(du, vu) + support::dot(dd, vd);
  const double size = support::norm(c.dx()) + support::norm(c.dweight()) +
                      0.1 * (support::norm(dg) + support::norm(du) + support::norm(dd));
  EXPECT_LT(std::abs(lhs - rhs), 2e-6 * size);
  EXPECT_GT(std::abs(lhs), 1e-3 * size);
}

TEST(Experts, Bf16WithinBounds) {
  using numerics::bf16;
  const Shape n{50, 64, 44, 9, 4};
  const Case<bf16> c(n);
  const Case<float> f(n, {true, true}, &c.in); // the same numbers
  EXPECT_LT(support::relative_error(support::download(c.y_TD), support::download(f.y_TD)),
            support::bound<bf16>(4, 64));
  EXPECT_LT(support::relative_error(c.dx(), f.dx()), support::bound<bf16>(6, 64));
  EXPECT_LT(support::relative_error(c.dweight(), f.dweight()), support::bound<bf16>(4, 64));
  EXPECT_LT(support::relative_error(c.minus_one(c.acc.w_gate_EFD), f.minus_one(f.acc.w_gate_EFD)),
            support::bound<bf16>(4, 64));
  EXPECT_LT(support::relative_error(c.minus_one(c.acc.w_up_EFD), f.minus_one(f.acc.w_up_EFD)),
            support::bound<bf16>(4, 64));
  EXPECT_LT(support::relative_error(c.minus_one(c.acc.w_down_EDF), f.minus_one(f.acc.w_down_EDF)),
            support::bound<bf16>(3, 64));
}

// Whatever is kept or made again: the same bits.
template <class A> void keep_or_refill() {
  const Shape n{33, 24, 20, 7, 3};
  const Case<A> kept(n, {true, true});
  for (const experts::Keep keep :
       {experts::Keep{false, false}, experts::Keep{true, false}, experts::Keep{false, true}}) {
    const Case<A> c(n, keep);
    EXPECT_EQ(support::download(c.y_TD), support::download(kept.y_TD));
    EXPECT_EQ(c.dx(), kept.dx());
    EXPECT_EQ(support::download(c.acc.w_down_EDF), support::download(kept.acc.w_down_EDF));
    EXPECT_EQ(support::download(c.acc.w_gate_EFD), support::download(kept.acc.w_gate_EFD));
  }
}
TEST(Experts, KeepOrRefillGiveTheSameBits) {
  keep_or_refill<float>();
  keep_or_refill<numerics::bf16>();
}

// Experts nobody was sent to keep their accumulators untouched.
TEST(Experts, WithoutTokensAddNothing) {
  const Shape n{20, 8, 6, 5, 2};
  const Case<float> c(n);
  const Values g = support::download(c.acc.w_gate_EFD), d = support::download(c.acc.w_down_EDF);
  for (std::size_t i = (n.E - 2) * n.F * n.D; i < g.size(); ++i) {
    ASSERT_EQ(g[i], 1.0);
    ASSERT_EQ(d[i], 1.0);
  }
}

} // namespace

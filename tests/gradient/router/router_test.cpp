// SPDX-License-Identifier: Apache-2.0
#include "layers/router/router.hpp"

#include <gtest/gtest.h>

#include "tests/gradient/router/reference.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace router = layers::router;

constexpr Index kSamples = 2;
constexpr double kAlpha = 0.7, kBalanceScale = 3.0;

arch::Dims small_dims() {
  arch::Dims dims;
  dims.model = 10, dims.experts = 16, dims.chosen = 4, dims.groups = 4, dims.chosen_groups = 2,
  dims.route_scale = 2.5;
  return dims;
}
// The published V2-Lite kind of gate: softmax, one group, weights as they come.
arch::Dims softmax_dims() {
  arch::Dims dims = small_dims();
  dims.score = arch::Score::softmax, dims.group_score = arch::GroupScore::maximum,
  dims.normalise = false;
  dims.groups = dims.chosen_groups = 1, dims.chosen = 6, dims.route_scale = 16.0,
  dims.router_bias = false;
  return dims;
}
// V2: softmax and groups scored by their highest.
arch::Dims softmax_groups_dims() {
  arch::Dims dims = softmax_dims();
  dims.groups = 4, dims.chosen_groups = 2;
  return dims;
}

template <class A> struct Case {
  arch::Dims dims;
  Index T;
  Values x, w, bias, dweight, old;
  tensor::Arena arena{"test", 1 << 24};
  tensor::Context ctx{tensor::Exec(), arena};
  router::Saved saved;
  tensor::Mat<A> x_TD, dx_TD;
  tensor::Mat<float> w_ED, dl_TE, dw_ED;
  tensor::Vec<float> bias_E;
  tensor::Vec<std::int64_t> load_E;
  tensor::Vec<double> balance_S;

  Case(const arch::Dims &d, Index t, double alpha = kAlpha, double bias_scale = 0.3)
      : dims(d), T(t) {
    const Index D = d.model, E = d.experts;
    x = support::normal<A>(t * D, 1), w = support::normal(E * D, 2, 1 / std::sqrt(D));
    if (d.router_bias) bias = support::normal(E, 3, bias_scale), bias_E = support::vec<float>(bias);
    dweight = support::normal(t * d.chosen, 4), old = support::normal<A>(t * D, 5);
    x_TD = support::mat<A>(x, t, D), dx_TD = support::mat<A>(old, t, D),
    w_ED = support::mat<float>(w, E, D);
    dl_TE = tensor::Mat<float>("dl", t, E), dw_ED = support::mat<float>(Values(E * D, 1.0), E, D);
    load_E = tensor::Vec<std::int64_t>("load", E),
    balance_S = tensor::Vec<double>("balance", kSamples);
    Kokkos::deep_copy(load_E, 1000), Kokkos::deep_copy(balance_S, 0.25);
    saved = router::allocate(arena, d, t, kSamples);
    router::forward<A>(ctx, d, w_ED, bias_E, x_TD, kSamples, alpha, saved, load_E, balance_S);
    router::backward_input<A>(ctx, d, w_ED, support::mat<float>(dweight, t, d.chosen), kSamples,
                              alpha, kBalanceScale, saved, dl_TE, dx_TD);
    router::backward_weight(ctx, dl_TE, saved, dw_ED);
    ctx.exec.fence();
  }
  template <class S>
  reference::Routed<S> route(const std::vector<S> &xs, const std::vector<S> &ws) const {
    return reference::route<S>(dims, xs, ws, bias, kSamples);
  }
  // <dweight, weights> + kBalanceScale * alpha * mean balance loss.
  template <class S>
  S loss(const std::vector<S> &xs, const std::vector<S> &ws, double alpha = kAlpha) const {
    const auto r = route(xs, ws);
    S sum = support::weighted(dweight, r.weight);
    for (const S &b : r.balance) sum += kBalanceScale * alpha * b / static_cast<double>(kSamples);
    return sum;
  }
  Values experts() const {
    Values v;
    for (Index t = 0; t < T; ++t)
      for (Index k = 0; k < dims.chosen; ++k) v.push_back(saved.expert_TK(t, k));
    return v;
  }
  Values dx() const {
    Values v = support::download(dx_TD);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] -= old[i];
    return v;
  }
  Values dw() const {
    Values v = support::download(dw_ED);
    for (double &e : v) e -= 1.0;
    return v;
  }
};

const std::vector<arch::Dims> kinds() {
  arch::Dims v3_unnormalised = small_dims(), wide = small_dims();
  v3_unnormalised.normalise = false;
  wide.model = 24, wide.experts = 512, wide.chosen = 16, wide.groups = 8, wide.chosen_groups = 4;
  return {small_dims(), softmax_dims(), softmax_groups_dims(), v3_unnormalised, wide};
}

TEST(Router, ForwardEqualsReference) {
  for (const auto &dims : kinds()) {
    const Case<float> c(dims, 150);
    const auto r = c.route<double>(c.x, c.w);
    EXPECT_EQ(c.experts(), Values(r.expert.begin(), r.expert.end()));
    EXPECT_LT(support::relative_error(support::download(c.saved.weight_TK), r.weight),
              support::float_bound(40));
    EXPECT_LT(support::relative_error(support::download(c.saved.scores_TE), r.scores),
              support::float_bound(40));
    EXPECT_LT(support::relative_error(support::download(c.saved.balance_SE), r.f), 1e-7);
    std::vector<std::int64_t> load(dims.experts, 1000);
    for (const int e : r.expert) ++load[e];
    for (Index e = 0; e < dims.experts; ++e) EXPECT_EQ(c.load_E(e), load[e]);
    for (Index s = 0; s < kSamples; ++s)
      EXPECT_NEAR(c.balance_S(s) - 0.25, kAlpha * r.balance[s], 1e-6 * r.balance[s]);
  }
}

TEST(Router, GradientsEqualComplexStep) {
  for (const auto &dims : kinds()) {
    if (dims.experts > 100) continue; // checked by the dot product
    const Case<float> c(dims, 8);
    using V = std::vector<Complex>;
    const V x = support::lift(c.x), w = support::lift(c.w);
    EXPECT_LT(support::relative_error(
                  c.dx(), support::gradient([&](const V &v) { return c.loss(v, w); }, c.x)),
              support::float_bound(60));
    EXPECT_LT(support::relative_error(
                  c.dw(), support::gradient([&](const V &v) { return c.loss(x, v); }, c.w)),
              support::float_bound(60));
  }
}

TEST(Router, GradientsWithoutBalanceLoss) {
  for (const auto &dims : {small_dims(), softmax_dims()}) {
    const Case<float> c(dims, 8, 0.0);
    using V = std::vector<Complex>;
    const V x = support::lift(c.x), w = support::lift(c.w);
    EXPECT_LT(support::relative_error(
                  c.dx(), support::gradient([&](const V &v) { return c.loss(v, w, 0.0); }, c.x)),
              support::float_bound(60));
    EXPECT_EQ(support::download(c.saved.balance_SE), Values(kSamples * dims.experts, 0.0));
    EXPECT_EQ(c.balance_S(0), 0.25);
  }
}

TEST(Router, DotProductOnLargerSizes) {
  for (const auto &dims : kinds()) {
    const Case<float> c(dims, 140);
    const Values vx = support::normal(c.x.size(), 11), vw = support::normal(c.w.size(), 12);
    const double lhs =
        c.loss(support::shifted(c.x, vx), support::shifted(c.w, vw)).imag() / support::kStep;
    const double rhs = support::dot(c.dx(), vx) + support::dot(c.dw(), vw);
    const double size = support::norm(c.dx()) + support::norm(c.dw());
    EXPECT_LT(std::abs(lhs - rhs), 4e-6 * size);
    EXPECT_GT(std::abs(lhs), 1e-3 * size);
  }
}

TEST(Router, Bf16WithinBounds) {
  const Case<numerics::bf16> c(small_dims(), 60);
  const auto r = c.route<double>(c.x, c.w);
  EXPECT_EQ(c.experts(),
            Values(r.expert.begin(), r.expert.end())); // nothing but the input is rounded
  EXPECT_LT(support::relative_error(support::download(c.saved.weight_TK), r.weight),
            support::float_bound(40));
  Case<float> f(small_dims(), 60);
  const auto x_TD = support::mat<float>(c.x, 60, 10), dx_TD = support::mat<float>(c.old, 60, 10);
  router::forward<float>(f.ctx, f.dims, f.w_ED, f.bias_E, x_TD, kSamples, kAlpha, f.saved, {},
                         f.balance_S);
  router::backward_input<float>(f.ctx, f.dims, f.w_ED, support::mat<float>(c.dweight, 60, 4),
                                kSamples, kAlpha, kBalanceScale, f.saved, f.dl_TE, dx_TD);
  EXPECT_EQ(support::download(f.dl_TE), support::download(c.dl_TE));
  EXPECT_LT(support::relative_error(support::download(c.dx_TD), support::download(dx_TD)),
            support::bound<numerics::bf16>(1, 16));
}

// The input that was not kept is made again with the same bits.
template <class A> void refill_gives_the_same_bits() {
  Case<A> c(small_dims(), 30);
  router::Saved lean = router::allocate(c.arena, c.dims, 30, kSamples, false);
  router::forward<A>(c.ctx, c.dims, c.w_ED, c.bias_E, c.x_TD, kSamples, kAlpha, lean, {},
                     c.balance_S);
  EXPECT_EQ(lean.x_TD.data(), nullptr);
  EXPECT_EQ(support::download(lean.weight_TK), support::download(c.saved.weight_TK));
  const auto dw_ED = support::mat<float>(Values(c.w.size(), 1.0), 16, 10);
  router::backward_weight(c.ctx, c.dl_TE, router::refill<A>(c.ctx, c.x_TD, lean), dw_ED);
  EXPECT_EQ(support::download(dw_ED), support::download(c.dw_ED));
}
TEST(Router, RefillGivesTheSameBits) {
  refill_gives_the_same_bits<float>();
  refill_gives_the_same_bits<numerics::bf16>();
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "layers/distil/distil.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "layers/head_loss/head_loss.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace distil = layers::distil;

constexpr float kScale = 0.37f;

struct Shape {
  std::size_t T, D, W, K;
};

// A teacher with logits of its own: its K most likely ids at tau. Row 1 has none told, row 2 only the first.
struct Teacher {
  std::vector<std::vector<int>> id;
  std::vector<Values> logp;
  Teacher(const Shape &s, double tau, double spread) : id(s.T), logp(s.T) {
    const Values l = support::normal(s.T * s.W, 77, spread);
    for (std::size_t t = 0; t < s.T; ++t) {
      double sum = 0;
      std::vector<int> order;
      for (std::size_t v = 0; v < s.W; ++v)
        sum += std::exp(l[t * s.W + v] / tau), order.push_back(static_cast<int>(v));
      std::sort(order.begin(), order.end(),
                [&](int a, int b) { return l[t * s.W + a] > l[t * s.W + b]; });
      for (std::size_t k = 0; k < s.K; ++k) {
        const bool told = !(t == 1 || (t == 2 && k > 0));
        id[t].push_back(told ? order[k] : -1);
        logp[t].push_back(static_cast<float>(l[t * s.W + order[k]] / tau - std::log(sum)));
      }
    }
  }
};

template <class S> struct Losses { std::vector<S> ce, kl; };

// From the equations, in any scalar.
template <class S>
Losses<S> reference(const Shape &s, const distil::Options &o, const std::vector<S> &x,
                    const std::vector<S> &w, const std::vector<int> &target,
                    const Teacher &teacher) {
  Losses<S> all;
  for (std::size_t t = 0; t < s.T; ++t) {
    std::vector<S> l(s.W), q(s.W);
    S sum = 0, sum_tau = 0;
    for (std::size_t v = 0; v < s.W; ++v) {
      for (std::size_t d = 0; d < s.D; ++d) l[v] += x[t * s.D + d] * w[v * s.D + d];
      sum += std::exp(l[v]), q[v] = std::exp(l[v] / o.temperature), sum_tau += q[v];
    }
    S kl = 0, rest_q = 0;
    double rest_p = 1;
    std::vector<bool> told(s.W, false);
    for (std::size_t k = 0; k < s.K; ++k) {
      const int id = teacher.id[t][k];
      if (id < 0) continue;
      const double p = std::exp(teacher.logp[t][k]);
      told[static_cast<std::size_t>(id)] = true, rest_p -= p;
      kl += p * (teacher.logp[t][k] - std::log(q[static_cast<std::size_t>(id)] / sum_tau));
    }
    for (std::size_t v = 0; v < s.W; ++v)
      if (!told[v]) rest_q += q[v];
    if (std::find(told.begin(), told.end(), false) != told.end())
      kl += rest_p * (std::log(rest_p) - std::log(rest_q / sum_tau));
    all.kl.push_back(target[t] < 0 ? S(0) : kl);
    all.ce.push_back(target[t] < 0 ? S(0) : std::log(sum) - l[static_cast<std::size_t>(target[t])]);
  }
  return all;
}

template <class A> struct Case {
  Shape s;
  distil::Options o;
  Teacher told;
  std::vector<int> target;
  Values x, w;
  tensor::Arena arena{"test", 1 << 26};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Vec<std::int32_t> target_T;
  tensor::Vec<float> lse_T, ce_T, kl_T;
  tensor::Mat<A> x_TD, w_WD, dx_TD;
  tensor::Mat<float> dw_WD, logp_TK;
  tensor::Mat<std::int32_t> id_TK;

  Case(const Shape &shape, const distil::Options &options, double spread = 1)
      : s(shape), o(options), told(shape, options.temperature, 1.5), target(s.T),
        x(support::normal<A>(s.T * s.D, 1)),
        w(support::normal<A>(s.W * s.D, 2, spread / std::sqrt(s.D))), target_T("target", s.T),
        lse_T("lse", s.T), ce_T("ce", s.T), kl_T("kl", s.T), x_TD(support::mat<A>(x, s.T, s.D)),
        w_WD(support::mat<A>(w, s.W, s.D)), dx_TD("dx", s.T, s.D), dw_WD("dw", s.W, s.D),
        logp_TK("logp", s.T, s.K), id_TK("id", s.T, s.K) {
    for (std::size_t t = 0; t < s.T; ++t) {
      target_T(t) = target[t] = t % 5 == 3 ? -1 : static_cast<int>((t * t * 7 + 3) % s.W);
      for (std::size_t k = 0; k < s.K; ++k)
        id_TK(t, k) = told.id[t][k], logp_TK(t, k) = static_cast<float>(told.logp[t][k]);
    }
    distil::forward_backward<A>(ctx, o, x_TD, w_WD, target_T, {id_TK, logp_TK}, kScale, lse_T, ce_T,
                                kl_T, dx_TD, dw_WD);
    ctx.exec.fence();
  }
  template <class S> S loss(const std::vector<S> &xs, const std::vector<S> &ws) const {
    const auto all = reference(s, o, xs, ws, target, told);
    S sum = 0;
    for (std::size_t t = 0; t < s.T; ++t)
      sum += o.weight * o.temperature * o.temperature * all.kl[t] + (1 - o.weight) * all.ce[t];
    return static_cast<double>(kScale) * sum;
  }
};

const std::vector<distil::Options> kOptions = {{1, 1}, {0.7, 1}, {0.5, 2.5}, {1, 0.6}};

TEST(Distil, LossesEqualReference) {
  for (const auto &o : kOptions)
    for (const Shape &s : {Shape{9, 20, 64, 8}, Shape{9, 20, 33, 1}, Shape{9, 20, 7, 7}}) {
      const Case<float> c(s, o, 2);
      const auto expected = reference(s, o, c.x, c.w, c.target, c.told);
      EXPECT_LT(support::max_error(support::download(c.ce_T), expected.ce), 5e-6);
      EXPECT_LT(support::max_error(support::download(c.kl_T), expected.kl), 1e-5) << s.W;
      EXPECT_EQ(c.kl_T(3), 0.0f);
      EXPECT_EQ(c.ce_T(3), 0.0f);
      EXPECT_NEAR(c.kl_T(1), 0, 1e-6); // nothing told
      for (std::size_t t = 0; t < s.T; ++t) EXPECT_GT(c.kl_T(t), -1e-5f);
      EXPECT_GT(support::norm(expected.kl), 0.1);
    }
}

TEST(Distil, GradientsEqualComplexStep) {
  using V = std::vector<Complex>;
  for (const auto &o : kOptions)
    for (const Shape &s : {Shape{7, 6, 19, 4}, Shape{7, 6, 5, 5}}) {
      const Case<float> c(s, o, 2);
      const V x = support::lift(c.x), w = support::lift(c.w);
      EXPECT_LT(
          support::relative_error(support::download(c.dx_TD),
                                  support::gradient([&](const V &v) { return c.loss(v, w); }, c.x)),
          support::float_bound(80));
      EXPECT_LT(
          support::relative_error(support::download(c.dw_WD),
                                  support::gradient([&](const V &v) { return c.loss(x, v); }, c.w)),
          support::float_bound(80));
      for (std::size_t d = 0; d < s.D; ++d) EXPECT_EQ(c.dx_TD(3, d), 0.0f);
    }
}

// More rows than a chunk holds; forward alone gives the same losses.
TEST(Distil, LargerSizesAndForwardAlone) {
  const Shape s{static_cast<std::size_t>(layers::head_loss::kChunkRows) + 77, 24, 150, 12};
  Case<float> c(s, {0.6, 1.7}, 2);
  const Values vx = support::normal(c.x.size(), 5), vw = support::normal(c.w.size(), 6);
  const double lhs =
      c.loss(support::shifted(c.x, vx), support::shifted(c.w, vw)).imag() / support::kStep;
  const Values dx = support::download(c.dx_TD), dw = support::download(c.dw_WD);
  const double size = support::norm(dx) + support::norm(dw);
  EXPECT_LT(std::abs(lhs - support::dot(dx, vx) - support::dot(dw, vw)), 3e-6 * size);
  EXPECT_GT(std::abs(lhs), 1e-3 * size);
  const Values kl = support::download(c.kl_T), ce = support::download(c.ce_T),
               lse = support::download(c.lse_T);
  distil::forward<float>(c.ctx, c.o, c.x_TD, c.w_WD, c.target_T, {c.id_TK, c.logp_TK}, c.lse_T,
                         c.ce_T, c.kl_T);
  EXPECT_EQ(support::download(c.kl_T), kl);
  EXPECT_EQ(support::download(c.ce_T), ce);
  EXPECT_EQ(support::download(c.lse_T), lse);
}

// Weight 0 is cross-entropy: the numbers of head_loss to a rounding or two.
TEST(Distil, WithoutWeightItIsCrossEntropy) {
  Case<float> c({40, 24, 90, 6}, {0, 2}, 2);
  const tensor::Vec<float> lse("lse", 40), loss("loss", 40);
  const tensor::Mat<float> dx("dx", 40, 24), dw("dw", 90, 24);
  layers::head_loss::forward_backward<float>(c.ctx, c.x_TD, c.w_WD, c.target_T, kScale, lse, loss,
                                             dx, dw);
  EXPECT_EQ(support::download(loss), support::download(c.ce_T));
  EXPECT_LT(support::relative_error(support::download(c.dx_TD), support::download(dx)), 1e-6);
  EXPECT_LT(support::relative_error(support::download(c.dw_WD), support::download(dw)), 1e-6);
}

// What a teacher tells: ids and numbers of a sort over all logits; of equal ones the smaller id; no place twice.
TEST(Distil, MostLikelyEqualsASort) {
  const std::size_t T = static_cast<std::size_t>(layers::head_loss::kChunkRows) + 5, D = 16, K = 7;
  for (const std::size_t W : {90U, 5U}) {
    for (const float tau : {1.0f, 2.5f}) {
      const Values x = support::normal(T * D, 1);
      Values w = support::normal(W * D, 2, 0.7);
      std::copy_n(w.begin(), D, w.begin() + 2 * D); // two tokens that are always equal
      tensor::Arena arena("test", 1 << 26);
      tensor::Context ctx{tensor::Exec(), arena};
      const tensor::Mat<std::int32_t> id("id", T, K);
      const tensor::Mat<float> logp("logp", T, K);
      distil::most_likely<float>(ctx, tau, support::mat<float>(x, T, D),
                                 support::mat<float>(w, W, D), id, logp);
      ctx.exec.fence();
      for (const std::size_t t : {std::size_t{0}, std::size_t{3}, T - 1}) {
        Values l(W, 0.0);
        double sum = 0;
        std::vector<int> order;
        for (std::size_t v = 0; v < W; ++v) {
          for (std::size_t d = 0; d < D; ++d) l[v] += x[t * D + d] * w[v * D + d];
          sum += std::exp(l[v] / tau), order.push_back(static_cast<int>(v));
        }
        l[2] = l[0];
        std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
          return l[static_cast<std::size_t>(a)] > l[static_cast<std::size_t>(b)];
        });
        for (std::size_t k = 0; k < K; ++k) {
          if (k >= W) {
            EXPECT_EQ(id(t, k), -1);
            continue;
          }
          EXPECT_EQ(id(t, k), order[k]) << t << " " << k;
          EXPECT_NEAR(logp(t, k), l[static_cast<std::size_t>(order[k])] / tau - std::log(sum),
                      2e-5);
        }
      }
    }
  }
}

TEST(Distil, LargeLogitsStayFinite) {
  const Case<float> c({9, 20, 64, 8}, {0.5, 0.5}, 200);
  for (const double v : support::download(c.dx_TD)) EXPECT_TRUE(std::isfinite(v));
  for (const double v : support::download(c.kl_T)) EXPECT_TRUE(std::isfinite(v));
  EXPECT_GT(support::norm(support::download(c.kl_T)), 10);
}

TEST(Distil, Bf16WithinBounds) {
  using numerics::bf16;
  const Shape s{60, 64, 200, 10};
  const distil::Options o{0.7, 1.5};
  const Case<bf16> c(s, o, 2);
  Case<float> f(s, o, 2);
  f.x_TD = support::mat<float>(c.x, 60, 64), f.w_WD = support::mat<float>(c.w, 200, 64);
  Kokkos::deep_copy(f.dw_WD, 0.0f);
  distil::forward_backward<float>(f.ctx, o, f.x_TD, f.w_WD, f.target_T, {f.id_TK, f.logp_TK},
                                  kScale, f.lse_T, f.ce_T, f.kl_T, f.dx_TD, f.dw_WD);
  EXPECT_LT(support::relative_error(support::download(c.kl_T), support::download(f.kl_T)),
            support::float_bound(64));
  EXPECT_LT(support::relative_error(support::download(c.dx_TD), support::download(f.dx_TD)),
            support::bound<bf16>(2, 200));
  EXPECT_LT(support::relative_error(support::download(c.dw_WD), support::download(f.dw_WD)),
            support::bound<bf16>(1, 60));
}

} // namespace

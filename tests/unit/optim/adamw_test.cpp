// SPDX-License-Identifier: Apache-2.0
// AdamW and the moving average against plain loops in double.
#include <gtest/gtest.h>

#include "optim/adamw.hpp"
#include "optim/average.hpp"
#include "tests/support/arrays.hpp"

namespace {

using numerics::bf16;
using support::Values;
using tensor::Index;
using tensor::Vec;

constexpr Index kSize = 1037;

struct Reference {
  optim::AdamwOptions o;
  Values w, m, v;
  // What the storage of the moments makes of a value.
  double (*store)(double) = [](double x) { return x; };

  void step(const Values &gradient, double rate, double decay, int t, double scale) {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const double g = scale * gradient[i];
      const double first = o.beta1 * m[i] + (1 - o.beta1) * g,
                   second = o.beta2 * v[i] + (1 - o.beta2) * g * g;
      const double m_hat = first / (1 - std::pow(o.beta1, t)),
                   v_hat = second / (1 - std::pow(o.beta2, t));
      w[i] -= rate * (m_hat / (std::sqrt(v_hat) + o.eps) + decay * w[i]);
      m[i] = store(first), v[i] = store(second);
    }
  }
};

// 50 steps whose gradients wander round a mean, with changing rate and scale.
template <class M> void follow(const double decay, const double (&bounds)[3]) {
  Reference r;
  r.o.eps = 1e-6;
  if (std::is_same_v<M, bf16>)
    r.store = [](double x) {
      return static_cast<double>(static_cast<float>(bf16(static_cast<float>(x))));
    };
  r.w = support::normal(kSize, 1), r.m = r.v = Values(kSize, 0.0);
  const Values start = r.w;
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  const Vec<float> w = support::vec<float>(r.w);
  const Vec<M> m("m", kSize), v("v", kSize);
  for (int t = 1; t <= 50; ++t) {
    const Values g = support::normal(kSize, 100 + t, 0.3, 0.1);
    const double rate = 1e-2 / t, scale = t % 3 == 0 ? 0.25 : 1.0;
    optim::adamw<M>(ctx, r.o, rate, decay, t, static_cast<float>(scale), support::vec<float>(g), w,
                    m, v);
    r.step(g, rate, decay, t, scale);
  }
  ctx.exec.fence();
  EXPECT_GT(support::relative_error(r.w, start), 0.01); // it did move
  Values moved = support::download(w), expected = r.w;
  for (std::size_t i = 0; i < moved.size(); ++i) moved[i] -= start[i], expected[i] -= start[i];
  EXPECT_LT(support::relative_error(moved, expected), bounds[0]);
  EXPECT_LT(support::relative_error(support::download(m), r.m), bounds[1]);
  EXPECT_LT(support::relative_error(support::download(v), r.v), bounds[2]);
}

// FP32 adds 50 roundings of w ~ 1 (2^-25 each) to steps of 1e-3 or more in all.
TEST(Adamw, FiftyStepsFollowDouble) { follow<float>(0.1, {1e-4, 1e-6, 1e-6}); }
TEST(Adamw, FiftyStepsWithoutDecay) { follow<float>(0.0, {1e-4, 1e-6, 1e-6}); }
// Both sides round the moments each step; where FP32 and double fall on two sides of a tie they part by one unit (2^-8), seldom.
TEST(Adamw, FiftyStepsWithMomentsInBf16) { follow<bf16>(0.1, {1e-3, 2e-3, 2e-3}); }

// The first step moves every weight by the rate, whatever the gradient's size: the bias corrections are right.
TEST(Adamw, FirstStepIsTheRate) {
  optim::AdamwOptions o;
  o.eps = 1e-20;
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  const Vec<float> w = support::vec<float>({0, 0, 0}), g = support::vec<float>({1e-6, -3.0, 5e4});
  const Vec<float> m("m", 3), v("v", 3);
  optim::adamw<float>(ctx, o, 0.5, 0.0, 1, 1.0F, g, w, m, v);
  ctx.exec.fence();
  EXPECT_LT(support::max_error(support::download(w), {-0.5, 0.5, -0.5}), 1e-6);
}

// Decay is decoupled: without a gradient a weight shrinks by rate x decay, and moments stay 0.
TEST(Adamw, DecayAlone) {
  optim::AdamwOptions o;
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  const Vec<float> w = support::vec<float>({2, -4}), g("g", 2), m("m", 2), v("v", 2);
  optim::adamw<float>(ctx, o, 0.01, 0.1, 1, 1.0F, g, w, m, v);
  ctx.exec.fence();
  EXPECT_LT(support::max_error(support::download(w), {2 * 0.999, -4 * 0.999}), 1e-6);
  EXPECT_EQ(support::norm(support::download(m)) + support::norm(support::download(v)), 0);
}

// A weight's bits do not depend on its place: the law behind sharded states.
TEST(Adamw, BitsDoNotDependOnThePlace) {
  optim::AdamwOptions o;
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  const Values w0 = support::normal(kSize, 1), g = support::normal(kSize, 2),
               m0 = support::normal(kSize, 3), v0 = Values(kSize, 0.7);
  const auto step = [&](const Index first, const Index count) {
    const auto part = [&](const Values &x) {
      return support::vec<float>(Values(x.begin() + first, x.begin() + first + count));
    };
    const Vec<float> w = part(w0);
    optim::adamw<float>(ctx, o, 1e-3, 0.1, 7, 0.3F, part(g), w, part(m0), part(v0));
    ctx.exec.fence();
    return support::download(w);
  };
  const Values all = step(0, kSize);
  for (const Index first : {1, 3, 64, 1000}) {
    const Values part = step(first, kSize - first);
    EXPECT_EQ(part, Values(all.begin() + first, all.end())) << first;
  }
}

TEST(Average, FollowsTheWeights) {
  const std::size_t n = 301;
  optim::HostFloats average("average", n), weights("weights", n);
  Values expected(n, 0.0);
  for (int t = 0; t < 40; ++t) {
    const Values w = support::normal(n, 10 + t);
    for (std::size_t i = 0; i < n; ++i)
      weights(i) = static_cast<float>(w[i]), expected[i] = 0.97 * expected[i] + 0.03 * w[i];
    optim::update_average(0.97, weights, average);
  }
  Values got(average.data(), average.data() + n);
  EXPECT_LT(support::relative_error(got, expected), 1e-6);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// The coefficients of policy optimisation against plain loops, and their derivative by complex steps; what clips and what cannot overflow.
#include "layers/policy/policy.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/arrays.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace policy = layers::policy;
using policy::Options, policy::Ratio;

struct Problem {
  Options options;
  std::vector<Index> start; // of segments, last: rows
  Values logp, old, ref, advantage, weight, entropy;
  std::vector<int> target;
  double scale = 1;
  bool reference = true, has_entropy = true;
  std::size_t rows() const { return logp.size(); }
};

// Answers of 1 to 12 tokens behind prompts, one segment without an answer.
Problem problem(Ratio ratio, std::uint64_t seed, double apart) {
  Problem p;
  p.options = {ratio, 0.2, 0.28, 0.3};
  p.start = {0, 9, 10, 30, 41, 60};
  const std::size_t T = 60;
  p.logp = support::normal(T, seed, 0.5, -1.5);
  p.old = support::normal(T, seed + 1, apart), p.ref = support::normal(T, seed + 2, 0.3);
  for (std::size_t t = 0; t < T; ++t)
    p.old[t] = static_cast<float>(p.old[t] + p.logp[t]),
    p.ref[t] = static_cast<float>(p.ref[t] + p.logp[t]);
  p.advantage.resize(T), p.weight.resize(T), p.target.resize(T);
  p.entropy = support::normal(T, seed + 4, 0.1, 2);
  const Values a = support::normal(5, seed + 3), each = support::normal(T, seed + 5);
  for (std::size_t s = 0; s < 5; ++s)
    for (Index t = p.start[s]; t < p.start[s + 1]; ++t) {
      const auto i = static_cast<std::size_t>(t);
      p.advantage[i] = ratio == Ratio::token ? each[i] : a[s];
      p.weight[i] = 1.0 / (4.0 + static_cast<double>(s));
      p.target[i] = s == 3 || t < p.start[s] + 3 ? -1 : 7;
    }
  return p;
}

struct Result {
  Values scale;
  std::vector<Values> sums;
};

Result run(const Problem &p) {
  const auto T = p.rows();
  tensor::Arena arena("test", 1 << 12);
  tensor::Context ctx{tensor::Exec(), arena};
  layers::Segments segments;
  const tensor::Vec<Index> start("start", p.start.size());
  const Kokkos::View<Index *, Kokkos::HostSpace> start_host("start_host", p.start.size());
  for (std::size_t s = 0; s < p.start.size(); ++s) start_host(s) = p.start[s];
  Kokkos::deep_copy(start, start_host);
  segments.start = start, segments.start_host = start_host;
  const tensor::Vec<std::int32_t> target("target", T);
  for (std::size_t t = 0; t < T; ++t) target(t) = p.target[t];
  Values loss = p.logp;
  for (double &v : loss) v = -v;
  policy::Inputs in{support::vec<float>(loss),
                    support::vec<float>(p.old),
                    {},
                    support::vec<float>(p.advantage),
                    support::vec<float>(p.weight),
                    target,
                    {}};
  if (p.reference) in.ref_T = support::vec<float>(p.ref);
  if (p.has_entropy) in.entropy_T = support::vec<float>(p.entropy);
  const tensor::Vec<float> scale("scale", T);
  const tensor::Mat<double> sums("sums", p.start.size() - 1, policy::kSums);
  Kokkos::deep_copy(scale, NAN), Kokkos::deep_copy(sums, NAN);
  policy::coefficients(ctx, p.options, segments, in, p.scale, scale, sums);
  ctx.exec.fence();
  Result r{support::download(scale), {}};
  for (std::size_t s = 0; s + 1 < p.start.size(); ++s) {
    r.sums.emplace_back();
    for (int x = 0; x < policy::kSums; ++x) r.sums.back().push_back(sums(s, x));
  }
  return r;
}

// J and the sums of a segment, from the equations.
template <class S> struct Told {
  S objective = 0;
  Values sums = Values(policy::kSums, 0.0);
};
template <class S> Told<S> reference(const Problem &p, const std::vector<S> &logp, std::size_t s) {
  Told<S> told;
  const auto term = [&](const S &d, const S &R, double advantage, double weight) {
    const S r = std::exp(d);
    const double low = 1 - p.options.clip_low, high = 1 + p.options.clip_high;
    const bool outside = support::real(r) < low || support::real(r) > high;
    const S bounded = outside ? S(support::real(r) < low ? low : high) : r;
    const bool held = support::real(bounded) * advantage < support::real(r) * advantage;
    const S k = p.reference ? std::exp(R) - R - 1.0 : S(0);
    told.objective += weight * ((held ? bounded : r) * advantage - p.options.beta * k);
    told.sums[policy::terms] += 1, told.sums[policy::clipped] += held ? 1 : 0;
    told.sums[policy::ratio] += support::real(r), told.sums[policy::kl] += support::real(k);
  };
  S all_d = 0, all_R = 0;
  std::size_t first = p.rows();
  for (auto t = static_cast<std::size_t>(p.start[s]); t < static_cast<std::size_t>(p.start[s + 1]);
       ++t) {
    if (p.target[t] < 0) continue;
    first = std::min(first, t);
    const S d = logp[t] - p.old[t], R = p.ref[t] - logp[t];
    all_d += d, all_R += R;
    told.sums[policy::tokens] += 1, told.sums[policy::answers] = 1;
    if (p.has_entropy) told.sums[policy::entropy] += p.entropy[t];
    told.sums[policy::apart] = std::max(told.sums[policy::apart], std::abs(support::real(d)));
    if (p.options.ratio == Ratio::token) term(d, R, p.advantage[t], p.weight[t]);
  }
  if (first < p.rows() && p.options.ratio == Ratio::sequence)
    term(all_d, all_R, p.advantage[first], p.weight[first]);
  told.sums[policy::objective] = support::real(told.objective);
  return told;
}

// Adds how many terms the clip took, and the size of the slopes.
void expect_equal(const Problem &p, double &all_clipped, double &all_slopes) {
  const Result got = run(p);
  double clipped = 0;
  for (std::size_t s = 0; s + 1 < p.start.size(); ++s) {
    const auto expected = reference<double>(p, p.logp, s).sums;
    for (int x = 0; x < policy::kSums; ++x)
      EXPECT_NEAR(got.sums[s][x], expected[x], 2e-6 * (1 + std::abs(expected[x]))) << s << " " << x;
    clipped += expected[policy::clipped];
  }
  // dL/dloss = dJ/dlogp
  const auto J = [&](const std::vector<Complex> &logp) {
    Complex sum = 0;
    for (std::size_t s = 0; s + 1 < p.start.size(); ++s)
      sum += reference<Complex>(p, logp, s).objective;
    return p.scale * sum;
  };
  const Values slope = support::gradient(J, p.logp);
  EXPECT_LT(support::relative_error(got.scale, slope), 1e-6);
  for (std::size_t t = 0; t < p.rows(); ++t)
    EXPECT_TRUE(p.target[t] >= 0 || got.scale[t] == 0.0) << t;
  all_clipped += clipped, all_slopes += support::norm(slope);
}

TEST(Policy, EqualsReferenceAndComplexStep) {
  for (const Ratio ratio : {Ratio::token, Ratio::sequence}) {
    double clipped = 0, slopes = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      Problem p = problem(ratio, 10 * seed, 0.25);
      expect_equal(p, clipped, slopes);
      p.scale = 0.3, p.options.beta = 0;
      expect_equal(p, clipped, slopes);
      p.reference = p.has_entropy = false;
      expect_equal(p, clipped, slopes);
    }
    EXPECT_GT(clipped, 5);
    EXPECT_GT(slopes, 5);
  }
}

// On the policy itself the ratio is 1: the coefficient is weight times advantage, and nothing is apart.
TEST(Policy, OnPolicyIsThePolicyGradient) {
  for (const Ratio ratio : {Ratio::token, Ratio::sequence}) {
    Problem p = problem(ratio, 5, 0);
    p.options.beta = 0;
    const Result got = run(p);
    for (std::size_t t = 0; t < p.rows(); ++t)
      EXPECT_EQ(static_cast<float>(got.scale[t]),
                p.target[t] < 0
                    ? 0.0F
                    : static_cast<float>(static_cast<double>(static_cast<float>(p.weight[t])) *
                                         static_cast<double>(static_cast<float>(p.advantage[t]))));
    for (const Values &sums : got.sums) {
      EXPECT_EQ(sums[policy::apart], 0);
      EXPECT_EQ(sums[policy::clipped], 0);
      EXPECT_EQ(sums[policy::ratio], sums[policy::terms]);
    }
  }
}

// The four sides of the clip, one row an answer.
TEST(Policy, TheClipTakesTheGradientOnlyWhereItIsTheSmaller) {
  struct Side {
    double ratio, advantage;
    bool clipped;
  };
  for (const Ratio ratio : {Ratio::token, Ratio::sequence})
    for (const auto &[r, advantage, clipped] : std::vector<Side>{{1.5, 1, true},
                                                                 {1.5, -1, false},
                                                                 {0.5, 1, false},
                                                                 {0.5, -1, true},
                                                                 {1.25, 1, false}, // clip_high 0.28
                                                                 {1.1, -1, false}}) {
      Problem p;
      p.options = {ratio, 0.2, 0.28, 0};
      p.start = {0, 1}, p.logp = {-1}, p.old = {-1 - std::log(r)}, p.ref = {-1};
      p.advantage = {advantage}, p.weight = {1}, p.entropy = {0}, p.target = {3};
      const Result got = run(p);
      EXPECT_NEAR(got.scale[0], clipped ? 0 : r * advantage, 1e-6) << r << " " << advantage;
      EXPECT_EQ(got.sums[0][policy::clipped], clipped) << r << " " << advantage;
    }
}

TEST(Policy, ExtremeRatiosStayFinite) {
  for (const Ratio ratio : {Ratio::token, Ratio::sequence})
    for (const double far : {100.0, -100.0, 1e30, -1e30})
      for (const double advantage : {2.0, -2.0}) {
        Problem p = problem(ratio, 3, 0);
        for (std::size_t t = 0; t < p.rows(); ++t)
          p.old[t] -= far, p.ref[t] += far, p.advantage[t] = advantage;
        const Result got = run(p);
        for (const double v : got.scale) EXPECT_TRUE(std::isfinite(v)) << far;
        for (const Values &sums : got.sums)
          for (const double v : sums) EXPECT_TRUE(std::isfinite(v)) << far;
        // The slope is the border's, not 0: a bad answer that has become far likelier is still pushed down.
        EXPECT_TRUE(!(far > 0 && advantage < 0) || got.scale[5] < -1e6) << far;
      }
}

// A value that is not a number shows.
TEST(Policy, NotANumberIsNotHidden) {
  for (const Ratio ratio : {Ratio::token, Ratio::sequence}) {
    Problem p = problem(ratio, 3, 0.1);
    p.old[5] = NAN;
    const Result got = run(p);
    EXPECT_TRUE(std::isnan(got.sums[0][policy::objective]));
    EXPECT_TRUE(std::isnan(got.scale[5]));
    EXPECT_FALSE(std::isnan(got.sums[2][policy::objective])); // the neighbours are well
  }
}

} // namespace

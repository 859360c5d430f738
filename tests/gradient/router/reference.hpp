// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gate by plain loops over any scalar, from the equations of layers/router/router.hpp. Choices go by real parts.
#include <algorithm>
#include <complex>
#include <limits>
#include <numeric>
#include <vector>

#include "arch/dims.hpp"
#include "tests/support/complex_step.hpp"

namespace reference {

template <class S> struct Routed {
  std::vector<int> expert; // T K, ascending
  std::vector<S> weight;   // T K
  std::vector<S> scores;   // T E
  std::vector<S> balance;  // per sample, alpha left out
  std::vector<double> f;   // samples x E
};

// Indices of the n largest, ties to the lower index.
inline std::vector<int> best(const std::vector<double> &v, int n) {
  std::vector<int> order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return v[a] > v[b]; });
  order.resize(n);
  return order;
}

inline std::vector<int> choose(const arch::Dims &dims, std::vector<double> z) {
  const int G = static_cast<int>(dims.groups), per_group = static_cast<int>(dims.experts) / G;
  std::vector<double> group(G);
  for (int g = 0; g < G; ++g) {
    std::vector<double> members(z.begin() + g * per_group, z.begin() + (g + 1) * per_group);
    std::sort(members.begin(), members.end(), std::greater<>());
    group[g] = members[0];
    if (dims.group_score == arch::GroupScore::top2_sum && per_group > 1) group[g] += members[1];
  }
  const std::vector<int> kept = best(group, static_cast<int>(dims.chosen_groups));
  for (int e = 0; e < static_cast<int>(dims.experts); ++e)
    if (std::find(kept.begin(), kept.end(), e / per_group) == kept.end())
      z[e] = -std::numeric_limits<double>::infinity();
  std::vector<int> chosen = best(z, static_cast<int>(dims.chosen));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

template <class S> std::vector<S> scores_of(const arch::Dims &dims, const S *logits) {
  std::vector<S> s(dims.experts);
  S sum = 0;
  for (std::size_t e = 0; e < s.size(); ++e) {
    s[e] = dims.score == arch::Score::sigmoid ? 1.0 / (1.0 + std::exp(-logits[e]))
                                              : std::exp(logits[e]);
    sum += s[e];
  }
  if (dims.score == arch::Score::softmax)
    for (S &v : s) v /= sum;
  return s;
}

// One sample's loss (5) from its scores.
template <class S>
S balance_loss(const arch::Dims &dims, const S *scores, std::size_t rows, double *f) {
  const std::size_t E = dims.experts;
  std::vector<S> P(E);
  std::fill(f, f + E, 0.0);
  for (std::size_t t = 0; t < rows; ++t) {
    std::vector<double> s(E);
    S sum = 0;
    for (std::size_t e = 0; e < E; ++e)
      s[e] = support::real(scores[t * E + e]), sum += scores[t * E + e];
    for (const int e : best(s, static_cast<int>(dims.chosen)))
      f[e] += static_cast<double>(E) / (dims.chosen * rows);
    for (std::size_t e = 0; e < E; ++e) P[e] += scores[t * E + e] / sum / static_cast<double>(rows);
  }
  S loss = 0;
  for (std::size_t e = 0; e < E; ++e) loss += f[e] * P[e];
  return loss;
}

template <class S>
Routed<S> route(const arch::Dims &dims, const std::vector<S> &x, const std::vector<S> &w,
                const std::vector<double> &bias, std::size_t samples) {
  const std::size_t D = dims.model, E = dims.experts, T = x.size() / D;
  Routed<S> r;
  for (std::size_t t = 0; t < T; ++t) {
    std::vector<S> logits(E);
    for (std::size_t e = 0; e < E; ++e)
      for (std::size_t d = 0; d < D; ++d) logits[e] += x[t * D + d] * w[e * D + d];
    const std::vector<S> s = scores_of(dims, logits.data());
    std::vector<double> z(E);
    for (std::size_t e = 0; e < E; ++e) z[e] = support::real(s[e]) + (bias.empty() ? 0.0 : bias[e]);
    const std::vector<int> chosen = choose(dims, z);
    S sum = dims.normalise ? S(1e-20) : S(1);
    for (const int e : chosen) sum += dims.normalise ? s[e] : S(0);
    for (const int e : chosen)
      r.expert.push_back(e), r.weight.push_back(dims.route_scale * s[e] / sum);
    r.scores.insert(r.scores.end(), s.begin(), s.end());
  }
  r.f.resize(samples * E);
  for (std::size_t i = 0; i < samples; ++i)
    r.balance.push_back(
        balance_loss(dims, &r.scores[i * T / samples * E], T / samples, &r.f[i * E]));
  return r;
}

} // namespace reference

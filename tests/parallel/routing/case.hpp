// SPDX-License-Identifier: Apache-2.0
#pragma once
// One mixture's routing as a test: who has how many tokens, which experts they choose, what the experts do. What must come out is
// computed here from the definitions (dispatch.hpp), for each rank apart and without a message.
#include <random>
#include <vector>

#include "layers/dispatch/route.hpp"

namespace routing {

namespace dispatch = layers::dispatch;
using layers::bf16;
using tensor::Index;
using tensor::Mat;

enum class Choice { random, one_expert, one_group, few_experts };

struct Case {
  int ep = 1, ranks_per_node = 0;
  Index experts = 8, chosen = 2, groups = 4, width = 5;
  std::vector<Index>
      tokens; // by rank of the expert group; the last one counts for the ranks behind
  Choice choice = Choice::random;
  dispatch::Formats formats = {};
  unsigned seed = 1;

  arch::Dims dims() const {
    arch::Dims d;
    d.experts = experts, d.chosen = chosen, d.groups = d.chosen_groups = groups, d.model = width;
    return d;
  }
  Index tokens_of(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return r < tokens.size() ? tokens[r] : tokens.back();
  }
  Index most_tokens() const {
    Index most = 0;
    for (int r = 0; r < ep; ++r) most = std::max(most, tokens_of(r));
    return most;
  }
};

// A number of rows x width, of the same kind everywhere: few bits, both signs, zeros, so that sums round and cancel.
inline float number(unsigned seed, int kind, int rank, Index row, Index column) {
  auto h = (seed * 2654435761u) ^ (static_cast<std::uint64_t>(kind) << 56) ^
           (static_cast<std::uint64_t>(rank) * 0x9E3779B97F4A7C15u) ^
           (static_cast<std::uint64_t>(row) * 0xC2B2AE3D27D4EB4Fu) ^
           (static_cast<std::uint64_t>(column) * 0xD6E8FEB86659FD93u);
  h ^= h >> 31, h *= 0xBF58476D1CE4E5B9u, h ^= h >> 29, h *= 0x94D049BB133111EBu, h ^= h >> 32;
  if (h % 17 == 0) return -0.0f;
  return std::ldexp(static_cast<float>(static_cast<std::int64_t>(h % 2000001) - 1000000),
                    static_cast<int>((h >> 40) % 8) - 22);
}

// Ascending experts of the tokens of one rank.
inline std::vector<std::int32_t> choices(const Case &c, int rank) {
  std::mt19937 random(c.seed * 7919u + static_cast<unsigned>(rank));
  std::vector<std::int32_t> all;
  for (Index t = 0; t < c.tokens_of(rank); ++t) {
    std::vector<std::int32_t> from;
    Index first = 0, count = c.experts;
    if (c.choice == Choice::one_group)
      count = c.experts / c.groups, first = (c.groups - 1) * count; // the last one's
    if (c.choice == Choice::one_expert) first = c.experts / 2, count = c.chosen;
    if (c.choice == Choice::few_experts) count = std::min(c.experts, c.chosen + 1);
    for (Index e = first; e < first + count; ++e) from.push_back(static_cast<std::int32_t>(e));
    std::shuffle(from.begin(), from.end(), random);
    std::sort(from.begin(), from.begin() + c.chosen);
    all.insert(all.end(), from.begin(), from.begin() + c.chosen);
  }
  return all;
}

// What an expert does to a row, and its reverse. Not inlined: the same instructions for both sides of a comparison.
template <class A> [[gnu::noinline]] A expert_output(Index expert, float weight, A x) {
  return A(static_cast<float>(x) * (0.5f + 0.25f * static_cast<float>(expert)) + weight);
}
template <class A> [[gnu::noinline]] A expert_gradient(Index expert, A dy) {
  return A(static_cast<float>(dy) * (1.25f - 0.125f * static_cast<float>(expert)));
}
[[gnu::noinline]] inline float weight_gradient(Index expert, float first) {
  return first * static_cast<float>(expert + 1);
}

template <class A> A rounded(dispatch::Format format, float value) {
  switch (format) {
  case dispatch::Format::compute:
  case dispatch::Format::f32: return A(value);
  case dispatch::Format::bf16: return A(static_cast<float>(bf16(value)));
  }
  return A(value);
}
template <class A> float rounded_sum(dispatch::Format format, float value) {
  switch (format) {
  case dispatch::Format::compute: return static_cast<float>(A(value));
  case dispatch::Format::bf16: return static_cast<float>(bf16(value));
  case dispatch::Format::f32: return value;
  }
  return value;
}

// The inputs of one rank.
template <class A> struct Inputs {
  std::vector<std::int32_t> expert;
  std::vector<float> weight;
  std::vector<A> x, base, dy;
  Index T;
  Inputs(const Case &c, int rank) : expert(choices(c, rank)), T(c.tokens_of(rank)) {
    for (Index i = 0; i < T * c.chosen; ++i) weight.push_back(number(c.seed, 0, rank, i, 0));
    for (Index t = 0; t < T; ++t)
      for (Index d = 0; d < c.width; ++d) {
        x.push_back(A(number(c.seed, 1, rank, t, d)));
        base.push_back(A(number(c.seed, 2, rank, t, d)));
        dy.push_back(A(number(c.seed, 3, rank, t, d)));
      }
  }
};

// Element d of the sum of a token's copies. value(k): what comes home for copy k.
template <class A, class F>
A law_of_sums(const Case &c, const std::int32_t *expert, const F &value, const A *base) {
  float total = 0;
  const Index per_group = c.experts / c.groups;
  for (Index g = 0; g < c.groups; ++g) {
    float group = 0;
    bool any = false;
    for (Index k = 0; k < c.chosen; ++k)
      if (expert[k] / per_group == g) group += value(k), any = true;
    if (any) total += rounded_sum<A>(c.formats.combine, group);
  }
  if (base) total += static_cast<float>(*base);
  return A(total);
}

// What rank `rank` must get back.
template <class A> struct Expected {
  std::vector<A> y, y_plain, dx;
  std::vector<float> dweight;
  Expected(const Case &c, int rank) {
    const Inputs<A> in(c, rank);
    for (Index t = 0; t < in.T; ++t) {
      const std::int32_t *expert = &in.expert[static_cast<std::size_t>(t * c.chosen)];
      const auto copy = [&](Index k) { return static_cast<std::size_t>(t * c.chosen + k); };
      const auto at = [&](Index d) { return static_cast<std::size_t>(t * c.width + d); };
      for (Index d = 0; d < c.width; ++d) {
        const A x = rounded<A>(c.formats.dispatch, static_cast<float>(in.x[at(d)])),
                dy = rounded<A>(c.formats.dispatch, static_cast<float>(in.dy[at(d)]));
        const auto out = [&](Index k) {
          return static_cast<float>(expert_output<A>(expert[k], in.weight[copy(k)], x));
        };
        const auto back = [&](Index k) {
          return static_cast<float>(expert_gradient<A>(expert[k], dy));
        };
        y.push_back(law_of_sums<A>(c, expert, out, &in.base[at(d)]));
        y_plain.push_back(law_of_sums<A>(c, expert, out, nullptr));
        dx.push_back(law_of_sums<A>(c, expert, back, &in.base[at(d)]));
      }
      for (Index k = 0; k < c.chosen; ++k)
        dweight.push_back(weight_gradient(
            expert[k],
            static_cast<float>(rounded<A>(c.formats.dispatch, static_cast<float>(in.dy[at(0)])))));
    }
  }
};

} // namespace routing

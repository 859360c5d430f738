// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gate of one token, done by one thread: scores, choice, weights and their reverse (equations in router.hpp).
// Every choice goes by integer keys that order scores as floats do and carry the expert's number, so that all keys differ, ties
// go to the lower number, and "the best", "the next best" are plain maxima that vectorise.
#include "layers/router/router.hpp"
#include "numerics/exp.hpp"

namespace layers::router {

struct Gate {
  int experts = 0, chosen = 0, groups = 1, chosen_groups = 1;
  bool softmax = false, top2 = true, normalise = true;
  float scale = 1;

  KOKKOS_INLINE_FUNCTION bool limited() const { return chosen_groups < groups; }
  Gate without_groups() const {
    Gate g = *this;
    g.groups = g.chosen_groups = 1;
    return g;
  }
};

using Key = std::int64_t;
inline constexpr Key kNoKey = INT64_MIN;

KOKKOS_INLINE_FUNCTION Key key_of(float score, int number) {
  const float plain = score + 0.0f; // -0 becomes +0: they tie
  std::uint32_t bits;
  memcpy(&bits, &plain, 4);
  const std::uint32_t ordered = bits ^ ((bits >> 31) != 0 ? 0x7FFFFFFFU : 0U);
  return (static_cast<Key>(static_cast<std::int32_t>(ordered)) << 32) | (0x7FFFFFFF - number);
}
KOKKOS_INLINE_FUNCTION int number_of(Key key) {
  return 0x7FFFFFFF - static_cast<int>(key & 0x7FFFFFFF);
}
KOKKOS_INLINE_FUNCTION float score_of(Key key) {
  const std::uint32_t ordered = static_cast<std::uint32_t>(static_cast<std::uint64_t>(key) >> 32);
  const std::uint32_t bits = ordered ^ ((ordered >> 31) != 0 ? 0x7FFFFFFFU : 0U);
  float score;
  memcpy(&score, &bits, 4);
  return score;
}
// The highest key. A taken key is replaced by kNoKey, so that the next call gives the next best.
KOKKOS_INLINE_FUNCTION Key highest(const Key *key, int n) {
  Key best = kNoKey;
  for (int i = 0; i < n; ++i) best = best < key[i] ? key[i] : best;
  return best;
}

// (2), in place of the logits.
KOKKOS_INLINE_FUNCTION void score(const Gate &gate, float *s) {
  const tensor::HostRow alone;
  const int E = gate.experts;
  if (!gate.softmax) {
    tensor::row_for(alone, E, [&](const Index e) { s[e] = numerics::sigmoid(s[e]); });
    return;
  }
  const float top = tensor::row_max(alone, E, [&](const Index e) { return s[e]; });
  tensor::row_for(alone, E, [&](const Index e) { s[e] = numerics::fast_exp(s[e] - top); });
  const float inverse = 1.0f / tensor::row_sum(alone, E, [&](const Index e) { return s[e]; });
  tensor::row_for(alone, E, [&](const Index e) { s[e] *= inverse; });
}

// Keys of groups that are not among the best become kNoKey: they count as -inf, whatever the sign of the scores.
KOKKOS_INLINE_FUNCTION void limit_groups(const Gate &gate, Key *key) {
  const int per_group = gate.experts / gate.groups;
  Key group_key[kMaxExperts];
  for (int g = 0; g < gate.groups; ++g) {
    Key first = kNoKey, second = kNoKey; // the two highest of the group
    for (int e = g * per_group; e < (g + 1) * per_group; ++e) {
      const Key lower = first < key[e] ? first : key[e];
      second = second < lower ? lower : second;
      first = first < key[e] ? key[e] : first;
    }
    const bool sum = gate.top2 && second != kNoKey;
    group_key[g] = key_of(sum ? score_of(first) + score_of(second) : score_of(first), g);
  }
  for (int c = 0; c < gate.chosen_groups; ++c)
    group_key[number_of(highest(group_key, gate.groups))] = kNoKey;
  for (int g = 0; g < gate.groups; ++g) {
    if (group_key[g] == kNoKey) continue;
    for (int e = g * per_group; e < (g + 1) * per_group; ++e) key[e] = kNoKey;
  }
}

// (3): ids of the chosen experts, ascending.
KOKKOS_INLINE_FUNCTION void choose_experts(const Gate &gate, const float *s, const float *bias,
                                           std::int32_t *expert) {
  Key key[kMaxExperts];
  const int E = gate.experts;
  if (bias)
    for (int e = 0; e < E; ++e) key[e] = key_of(s[e] + bias[e], e);
  else
    for (int e = 0; e < E; ++e) key[e] = key_of(s[e], e);
  if (gate.limited()) limit_groups(gate, key);
  for (int k = 0; k < gate.chosen; ++k) {
    const std::int32_t id = number_of(highest(key, E));
    key[id] = kNoKey;
    int place = k;
    for (; place > 0 && expert[place - 1] > id; --place) expert[place] = expert[place - 1];
    expert[place] = id;
  }
}

KOKKOS_INLINE_FUNCTION float chosen_sum(const Gate &gate, const float *s,
                                        const std::int32_t *expert) {
  float sum = 0;
  for (int k = 0; k < gate.chosen; ++k) sum += s[expert[k]];
  return sum + 1e-20f;
}

// (4)
KOKKOS_INLINE_FUNCTION void weigh(const Gate &gate, const float *s, const std::int32_t *expert,
                                  float *weight) {
  const float factor = gate.normalise ? gate.scale / chosen_sum(gate, s, expert) : gate.scale;
  for (int k = 0; k < gate.chosen; ++k) weight[k] = factor * s[expert[k]];
}

// (5), one row: the unbiased choice is counted and s' added.
KOKKOS_INLINE_FUNCTION void add_balance_row(const Gate &gate, const float *s, std::int32_t *count,
                                            float *share) {
  const tensor::HostRow alone;
  std::int32_t expert[kMaxChosen];
  choose_experts(gate, s, nullptr, expert);
  for (int k = 0; k < gate.chosen; ++k) ++count[expert[k]];
  const float inverse =
      1.0f / tensor::row_sum(alone, gate.experts, [&](const Index e) { return s[e]; });
  tensor::row_for(alone, gate.experts,
                  [&](const Index e) { share[e] = fmaf(s[e], inverse, share[e]); });
}

// (5'): ds = slope * (f - sum_i f_i s'_i) / sum_j s_j, where slope = alpha balance_scale / (samples T_s). Overwrites ds.
KOKKOS_INLINE_FUNCTION void balance_gradient(const Gate &gate, const float *s, const float *f,
                                             float slope, float *ds) {
  const tensor::HostRow alone;
  if (slope == 0.0f) {
    tensor::row_for(alone, gate.experts, [&](const Index e) { ds[e] = 0; });
    return;
  }
  const float inverse =
      1.0f / tensor::row_sum(alone, gate.experts, [&](const Index e) { return s[e]; });
  const float mean =
      inverse * tensor::row_sum(alone, gate.experts, [&](const Index e) { return f[e] * s[e]; });
  tensor::row_for(alone, gate.experts,
                  [&](const Index e) { ds[e] = slope * inverse * (f[e] - mean); });
}

// (4'): with normalisation ds_k += scale / S * (dw_k - sum_j dw_j s_j / S), S the sum of (4); else ds_k += scale * dw_k.
KOKKOS_INLINE_FUNCTION void weigh_gradient(const Gate &gate, const float *s,
                                           const std::int32_t *expert, const float *dweight,
                                           float *ds_acc) {
  float factor = gate.scale, mean = 0;
  if (gate.normalise) {
    const float sum = chosen_sum(gate, s, expert);
    for (int k = 0; k < gate.chosen; ++k) mean = fmaf(dweight[k], s[expert[k]], mean);
    factor /= sum;
    mean /= sum;
  }
  for (int k = 0; k < gate.chosen; ++k) ds_acc[expert[k]] += factor * (dweight[k] - mean);
}

// (2'), in place: dl = ds s (1 - s) for sigmoid, dl = s (ds - sum_j ds_j s_j) for softmax.
KOKKOS_INLINE_FUNCTION void score_gradient_row(const Gate &gate, const float *s, float *ds) {
  const tensor::HostRow alone;
  if (!gate.softmax) {
    tensor::row_for(alone, gate.experts,
                    [&](const Index e) { ds[e] = ds[e] * s[e] * (1.0f - s[e]); });
    return;
  }
  const float mean =
      tensor::row_sum(alone, gate.experts, [&](const Index e) { return ds[e] * s[e]; });
  tensor::row_for(alone, gate.experts, [&](const Index e) { ds[e] = s[e] * (ds[e] - mean); });
}

} // namespace layers::router

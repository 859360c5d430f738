// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rotary positions on interleaved pairs (2i, 2i+1), with YaRN frequencies (facts of section 2.2; REF precompute_freqs_cis).
//   f_i = theta^(-2i/R);  YaRN: f_i' = f_i/s * ramp(i) + f_i * (1 - ramp(i)), ramp from the correction dims of beta_fast, beta_slow
//   (1) (y[2i], y[2i+1]) = (x[2i] cos a - x[2i+1] sin a,  x[2i] sin a + x[2i+1] cos a),  a = position * f_i
// Reverse: rotation by -a. Tables are FP32 (made in double); cos and sin are multiplied by m(mscale)/m(mscale_all_dim) under YaRN
// (1 for DeepSeek-V3), m(x) = 0.1 x ln s + 1.
#include <vector>

#include "layers/types.hpp"

namespace layers::rope {

struct Table {
  Mat<float> cos_PF, sin_PF; // P positions, F = R/2 frequencies
};
std::vector<double> frequencies(const arch::Dims &dims); // R/2 angular frequencies, YaRN included
Table make_table(const arch::Dims &dims, Index positions);

// In place on columns [offset, offset + R) of each of the heads of x[T, heads, head_dim] (k_rope: heads = 1, head_dim = R).
// sign = +1 forward, -1 reverse.
template <class A>
void rotate(Context &ctx, const char *label, const Table &table, Vec<const std::int32_t> position_T,
            Cube<A> x_THX, Index offset, int sign);

} // namespace layers::rope

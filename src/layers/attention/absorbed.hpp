// SPDX-License-Identifier: Apache-2.0
#pragma once
// Causal attention over a latent cache, absorbed: keys and values are never made, w_uk goes to the query's side and w_uv behind the
// sum (arXiv 2405.04434, appendix C; facts of section 2.4).
//   (1) q~[t,h,c] = sum_n q_nope[t,h,n] w_uk[h,n,c]
//   (2) s[t,h,j]  = scale * ( q~[t,h].c[j] + q_rope[t,h].k_rope[j] )     j <= position(t)
//   (3) o~[t,h,:] = sum_j softmax_j(s) c[j]
//   (4) o[t,h,v]  = sum_c w_uv[h,v,c] o~[t,h,c]
// w_ukv[h] holds N rows of w_uk, then V rows of w_uv. The cache lies in pages of kKeyBlock tokens. Row t is the position(t)-th token of
// its sequence and sees tokens 0 .. position(t), in the pages of its table. Sums, q~ and o~ are FP32; keys are walked in blocks of kKeyBlock
// from the first. A row's bits depend on its own query and on the contents of its sequence's cache alone.
#include "layers/attention/attention.hpp"

namespace layers::attention {

template <class A> struct AbsorbedInputs {
  Cube<const A> q_THM;               // rotated
  Cube<const A> latent_PJC, key_PJR; // pages; latents are normalised, keys rotated
  Mat<const A> w_ukv_ZC;
  Vec<const Index> page_B, table_T; // page tables; where that of each row begins
  Vec<const std::int32_t> position_T;
  Index nope;
  float scale;
};
template <class A> void absorbed(Context &ctx, const AbsorbedInputs<A> &in, Cube<A> o_THV);

// Arena bytes that absorbed takes for itself.
std::size_t absorbed_bytes(Index tokens, Index heads, Index latent);

} // namespace layers::attention

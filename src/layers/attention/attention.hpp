// SPDX-License-Identifier: Apache-2.0
#pragma once
// Causal attention core of MLA in its training form (not absorbed), blocked: no T x T matrix exists.
//   q[t,h,:] = [q_nope (N) | q_rope (R)],  kv[t,h,:] = [k_nope (N) | v (V)],  k_rope[t,:] shared by the heads
//   (1) s[t,j,h] = scale * ( q_nope[t,h].k_nope[j,h] + q_rope[t,h].k_rope[j] )      j <= t in the same segment
//   (2) p = softmax_j(s)   (3) o[t,h] = sum_j p[t,j,h] v[j,h]      lse[t,h] = log sum_j exp s
// Reverse, given do (p is made again from q, k and lse):
//   (3') dv[j,h] = sum_t p do[t,h];  dp = do[t,h].v[j,h]
//   (2') ds = p * ( dp - delta[t,h] ),  delta[t,h] = do[t,h].o[t,h]
//   (1') dq[t,h] = scale sum_j ds k[j,h];  dk[j,h] = scale sum_t ds q[t,h];  dk_rope[j] = sum_h (rope part), heads in order
// Keys are walked in blocks of kKeyBlock counted from the segment's first token, sums are FP32 fused multiply-adds in a fixed order:
// a row's bits depend on its segment's earlier rows alone. Arithmetic in FP32 whatever A is; p is not rounded.
// Saved: o_THV, lse_TH (4 bytes a token and head) beside the inputs.
#include "layers/types.hpp"

namespace layers::attention {

inline constexpr Index kKeyBlock = 64;

template <class A>
void forward(Context &ctx, Cube<const A> q_THM, Cube<const A> kv_THX, Mat<const A> k_rope_TR,
             const Segments &segments, Index nope, float scale, Cube<A> o_THV, Mat<float> lse_TH);
template <class A>
void backward(Context &ctx, Cube<const A> do_THV, Cube<const A> q_THM, Cube<const A> kv_THX,
              Mat<const A> k_rope_TR, Cube<const A> o_THV, Mat<const float> lse_TH,
              const Segments &segments, Index nope, float scale, Cube<A> dq_THM, Cube<A> dkv_THX,
              Mat<A> dk_rope_TR);
// FLOP of one forward over these segments (multiply and add counted; causal half): for counters and benches.
double forward_flops(const Segments &segments, Index heads, Index head_dim, Index value);
double backward_flops(const Segments &segments, Index heads, Index head_dim,
                      Index value); // the scores made again are counted
// Arena bytes that forward or backward take for themselves at most; longest: rows of the longest segment.
std::size_t scratch_bytes(Index tokens, Index longest, Index heads, Index nope, Index rope,
                          Index value);

} // namespace layers::attention

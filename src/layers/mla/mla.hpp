// SPDX-License-Identifier: Apache-2.0
#pragma once
// Multi-head latent attention (arXiv 2412.19437, section 2.1.1), from the normalised residual to the output projection.
//   (1) cq = x w_dq^T             (2) cqn = norm(cq)            (3) q = cqn w_uq^T        [T, H, N+R]   (Q = 0: q = x w_q^T)
//   (4) c = x w_dkv[0:C]^T        (5) k_rope = x w_dkv[C:]^T    (6) cn = norm(c)          (7) kv = cn w_ukv^T  [T, H, N+V]
//   (8) rotate q's rope part and k_rope                         (9) o = attention(q, kv, k_rope)          (10) y = o w_o^T
// Reverse (10') .. (1') by the same numbers; dx = (1') + (4') + (5'), summed in this order in FP32, rounded as the products are.
// Recompute: cqn, cn (norms) and q, kv (up-projections, rotated again) may be left out of Saved and refilled (for Q = 0, q comes
// from x, which is not kept here: it stays in Saved).
#include "layers/attention/attention.hpp"
#include "layers/rms_norm/rms_norm.hpp"
#include "layers/rope/rope.hpp"

namespace layers::mla {

template <class A> struct Weights {
  Mat<const A> w_dq_QD, w_uq_XQ; // X = H (N+R)
  Mat<const A> w_q_XD;           // instead of both when Q = 0
  Vec<const float> q_norm_Q, kv_norm_C;
  Mat<const A> w_dkv_YD; // Y = C + R
  Mat<const A> w_ukv_ZC; // Z = H (N+V)
  Mat<const A> w_o_DU;   // U = H V
};
struct Grads { // FP32 accumulators, named after their tensors
  Mat<float> w_dq_QD, w_uq_XQ, w_q_XD;
  Vec<float> q_norm_Q, kv_norm_C;
  Mat<float> w_dkv_YD, w_ukv_ZC, w_o_DU;
};
// What is kept; a field not kept is an empty view and filled by refill() into scratch.
struct Keep {
  bool norms = true;          // cqn, cn
  bool up_projections = true; // q, kv (kept after rotation)
};
template <class A> struct Saved {
  Mat<A> cq_TQ, cqn_TQ, c_TC, cn_TC;
  Cube<A> q_THM, kv_THX;
  Mat<A> k_rope_TR;
  Cube<A> o_THV;
  Mat<float> lse_TH;
  rms_norm::Saved q_norm, kv_norm;
};
// Gradients that B makes and W needs: kept until backward_weight ran (zero-bubble schedules place W later).
template <class A> struct Deltas {
  Mat<A> dcq_TQ, dcqn_TQ, dc_TC, dcn_TC, dk_rope_TR;
  Cube<A> dq_THM, dkv_THX;
};

template <class A>
Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Keep keep);
template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, Index tokens);
// saved with every field present: those not kept are taken from the arena (the caller's scope) and computed again, same bits.
template <class A>
Saved<A> refill(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
                const Segments &segments, const Saved<A> &saved);

template <class A>
void forward(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
             const Segments &segments, Mat<const A> x_TD, const Saved<A> &saved, Mat<A> y_TD);
// saved must be full (refilled).
template <class A>
void backward_input(Context &ctx, const arch::Dims &dims, const Weights<A> &w,
                    const rope::Table &table, const Segments &segments, Mat<const A> dy_TD,
                    const Saved<A> &saved, const Deltas<A> &deltas, Mat<A> dx_TD);
template <class A>
void backward_weight(Context &ctx, const arch::Dims &dims, Mat<const A> dy_TD, Mat<const A> x_TD,
                     const Saved<A> &saved, const Deltas<A> &deltas, const Grads &acc);

} // namespace layers::mla

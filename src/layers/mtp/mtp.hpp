// SPDX-License-Identifier: Apache-2.0
#pragma once
// Input of a multi-token-prediction module (report, eq. 21, in the checkpoint's order embedding first):
//   (1) e = norm_e(emb[t])   (2) n = norm_h(h[t])   (3) z = [e ; n]  [T, 2D]   (4) y = z w_proj^T
// Reverse: dz = dy w_proj; (1') demb = norm_e'(dz[:, 0:D]); (2') dh = norm_h'(dz[:, D:]).  The module's block and head are the model's.
// Saved: emb, h are the caller's; z_T2D may be refilled; r of both norms.
#include "layers/rms_norm/rms_norm.hpp"

namespace layers::mtp {

template <class A> struct Weights {
  Vec<const float> embedding_norm_D, hidden_norm_D;
  Mat<const A> w_proj_DZ; // Z = 2 D
};
struct Grads {
  Vec<float> embedding_norm_D, hidden_norm_D;
  Mat<float> w_proj_DZ;
};
template <class A> struct Saved {
  Mat<A> z_TZ;
  rms_norm::Saved embedding_norm, hidden_norm;
};
template <class A> struct Deltas {
  Mat<A> de_TD, dn_TD; // gradients after the norms, for their weights
};
template <class A> Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens);
template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, Index tokens);

template <class A>
void forward(Context &ctx, const Weights<A> &w, float eps, Mat<const A> emb_TD, Mat<const A> h_TD,
             const Saved<A> &saved, Mat<A> y_TD);
template <class A>
void backward_input(Context &ctx, const Weights<A> &w, Mat<const A> dy_TD, Mat<const A> emb_TD,
                    Mat<const A> h_TD, const Saved<A> &saved, const Deltas<A> &deltas,
                    Mat<A> demb_TD, Mat<A> dh_TD);
template <class A>
void backward_weight(Context &ctx, Mat<const A> dy_TD, Mat<const A> emb_TD, Mat<const A> h_TD,
                     const Saved<A> &saved, const Deltas<A> &deltas, const Grads &acc);

// Row moves between a stream of `samples` samples of `rows` rows and one of rows - 1: MTP depth k works on rows 0 .. rows-k-1 of each sample.
//   narrow: y[s, i] = x[s, i] for i < rows - 1            widen_acc: x_acc[s, i] += y[s, i]
template <class A>
void narrow(Context &ctx, Index samples, Index rows, Mat<const A> x_TD, Mat<A> y_UD);
template <class A>
void widen_acc(Context &ctx, Index samples, Index rows, Mat<const A> y_UD, Mat<A> x_TD_acc);

} // namespace layers::mtp

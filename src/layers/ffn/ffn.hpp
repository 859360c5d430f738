// SPDX-License-Identifier: Apache-2.0
#pragma once
// SwiGLU feed-forward (dense layers and shared experts).
//   (1) g = x w_gate^T   (2) u = x w_up^T   (3) h = silu(g) * u   (4) y = h w_down^T          silu(g) = g / (1 + exp(-g))
// Reverse:
//   (4') dh = dy w_down;  dw_down += dy^T h
//   (3') du = dh * silu(g);  dg = dh * u * ( s + g s (1 - s) ), s = sigmoid(g)
//   (1',2') dx = dg w_gate + du w_up;  dw_gate += dg^T x;  dw_up += du^T x
// Saved: g, u, h [T, F]; h may be left out and refilled.
#include "layers/types.hpp"

namespace layers::ffn {

template <class A> struct Weights { Mat<const A> w_gate_FD, w_up_FD, w_down_DF; };
struct Grads {
  Mat<float> w_gate_FD, w_up_FD, w_down_DF;
};
template <class A> struct Saved { Mat<A> g_TF, u_TF, h_TF; };
template <class A> struct Deltas { Mat<A> dg_TF, du_TF; };
template <class A>
Saved<A> allocate(tensor::Arena &arena, Index tokens, Index hidden, bool keep_swiglu);
template <class A> Deltas<A> allocate_deltas(tensor::Arena &arena, Index tokens, Index hidden);
template <class A> Saved<A> refill(Context &ctx, const Saved<A> &saved);

template <class A>
void forward(Context &ctx, const Weights<A> &w, Mat<const A> x_TD, const Saved<A> &saved,
             Mat<A> y_TD);
template <class A>
void backward_input(Context &ctx, const Weights<A> &w, Mat<const A> dy_TD, const Saved<A> &saved,
                    const Deltas<A> &deltas, Mat<A> dx_TD, bool accumulate = false);
template <class A>
void backward_weight(Context &ctx, Mat<const A> dy_TD, Mat<const A> x_TD, const Saved<A> &saved,
                     const Deltas<A> &deltas, const Grads &acc);

} // namespace layers::ffn

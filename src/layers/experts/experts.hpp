// SPDX-License-Identifier: Apache-2.0
#pragma once
// Routed experts on arrivals in expert order: grouped SwiGLU with the routing weight applied before the down projection (as the
// report's training does), so that combining is a plain sum.
//   (1) g = x w_gate[e]^T  (2) u = x w_up[e]^T  (3) h = w_a * silu(g) * u  (4) y = h w_down[e]^T        w_a routing weight of the arrival
// Reverse:
//   (4') dh = dy w_down[e];  dw_down[e] += dy^T h
//   (3') dw_a = sum_f dh silu(g) u;  du = dh w_a silu(g);  dg = dh w_a u (s + g s (1-s))
//   (1',2') dx = dg w_gate[e] + du w_up[e];  dw_gate[e] += dg^T x;  dw_up[e] += du^T x
// Saved: x_AD (may be gathered again), g, u, h (may be refilled) [A, F].
#include "layers/dispatch/dispatch.hpp"

namespace layers::experts {

template <class A> struct Weights { Cube<const A> w_gate_EFD, w_up_EFD, w_down_EDF; };
struct Grads {
  Cube<float> w_gate_EFD, w_up_EFD, w_down_EDF;
};
struct Keep {
  bool arrivals = false; // x_AD
  bool swiglu = false;   // h_AF
};
template <class A> struct Saved { Mat<A> x_AD, g_AF, u_AF, h_AF; };
template <class A> struct Deltas { Mat<A> dy_AD, dg_AF, du_AF; };
template <class A>
Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Keep keep);
template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, Index tokens);
// For any number of arrivals (those of other ranks).
template <class A>
Saved<A> allocate_rows(tensor::Arena &arena, const arch::Dims &dims, Index arrivals, Keep keep);
template <class A>
Deltas<A> allocate_delta_rows(tensor::Arena &arena, const arch::Dims &dims, Index arrivals);
// Fields not kept, made again in the caller's arena scope (same bits).
template <class A>
Saved<A> refill(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
                Mat<const A> x_TD, const Saved<A> &saved);

// y_AD: outputs of the arrivals (the caller combines). saved.x_AD may be empty: then scratch is used and dropped. It may be x_TD itself:
// rows that came from another rank are arrivals already.
template <class A>
void forward(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
             const Weights<A> &w, Mat<const A> x_TD, const Saved<A> &saved, Mat<A> y_AD);
// deltas.dy_AD is filled by the caller (gathered dy). Makes dx_AD and dweight_TK. saved must be full.
template <class A>
void backward_input(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
                    const Weights<A> &w, const Saved<A> &saved, const Deltas<A> &deltas,
                    Mat<A> dx_AD, Mat<float> dweight_TK);
template <class A>
void backward_weight(Context &ctx, const dispatch::Plan &plan, const Saved<A> &saved,
                     const Deltas<A> &deltas, const Grads &acc);

} // namespace layers::experts

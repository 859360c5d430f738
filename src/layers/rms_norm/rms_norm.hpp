// SPDX-License-Identifier: Apache-2.0
#pragma once
// RMSNorm over the last dim.
//   (1) r[t]   = 1 / sqrt( mean_d( x[t,d]^2 ) + eps )
//   (2) y[t,d] = x[t,d] * r[t] * g[d]
// Reverse, given dy = dL/dy:
//   (2') u[t,d] = dy[t,d] * g[d];   dg[d] += sum_t dy[t,d] * x[t,d] * r[t]
//   (1') dx[t,d] = r[t] * ( u[t,d] - x[t,d] * r[t]^2 * mean_e( u[t,e] * x[t,e] ) )
// Shapes: T tokens, D any dim. Arithmetic in FP32; x, y, dy, dx in A. Saved for the reverse: r_T (4 bytes a token); x is the caller's.
#include "layers/types.hpp"

namespace layers::rms_norm {

struct Saved {
  Vec<float> r_T;
};
Saved allocate(tensor::Arena &arena, Index tokens);

template <class A>
void forward(Context &ctx, Mat<const A> x_TD, Vec<const float> g_D, float eps, Mat<A> y_TD,
             const Saved &saved);
// y again from x and the saved r (recompute policy): the same bits as forward.
template <class A>
void refill(Context &ctx, Mat<const A> x_TD, Vec<const float> g_D, const Saved &saved, Mat<A> y_TD);
template <class A>
void backward_input(Context &ctx, Mat<const A> dy_TD, Mat<const A> x_TD, Vec<const float> g_D,
                    const Saved &saved, Mat<A> dx_TD);
// As backward_input for a norm on the residual stream: adds (sum in FP32, rounded once).
template <class A>
void backward_input_acc(Context &ctx, Mat<const A> dy_TD, Mat<const A> x_TD, Vec<const float> g_D,
                        const Saved &saved, Mat<A> dx_TD_acc);
template <class A>
void backward_weight(Context &ctx, Mat<const A> dy_TD, Mat<const A> x_TD, const Saved &saved,
                     Vec<float> dg_D_acc);

} // namespace layers::rms_norm

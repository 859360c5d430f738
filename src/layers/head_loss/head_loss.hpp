// SPDX-License-Identifier: Apache-2.0
#pragma once
// Output head and cross-entropy in chunks of rows: a T x W matrix never exists.
//   (1) l[t] = x[t] w^T   (2) lse[t] = log sum exp l[t]   (3) loss[t] = lse[t] - l[t, target[t]]   (0 where target < 0)
// Reverse with scale (dL/dloss[t] = scale, e.g. lambda / number of valid targets):
//   (3') dl[t] = scale * ( softmax(l[t]) - onehot(target[t]) ), 0 where target < 0;  dx = dl w;  dw += dl^T x
// or with a scale of each row, dL/dloss[t] = scale[t] (objectives other than cross-entropy).
//   (4) entropy[t] = lse[t] - sum_w softmax(l[t])[w] l[t,w]   (0 where target < 0), only where it is asked for
// Logits and losses are FP32; dl is rounded to A before the products. forward_backward is the fused form that the trainer uses:
// each chunk's logits are made once (a test shows it equal to the three verbs, bit for bit).
#include "layers/types.hpp"

namespace layers::head_loss {

inline constexpr Index kChunkRows = 512;

template <class A>
void forward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD, Vec<const std::int32_t> target_T,
             Vec<float> lse_T, Vec<float> loss_T, Vec<float> entropy_T = {});
template <class A>
void backward_input(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                    Vec<const std::int32_t> target_T, Vec<const float> lse_T, float scale,
                    Mat<A> dx_TD);
template <class A>
void backward_weight(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                     Vec<const std::int32_t> target_T, Vec<const float> lse_T, float scale,
                     Mat<float> dw_WD_acc);
// A scale of each row. backward: both gradients, each chunk's logits made once (the bits of the two verbs).
template <class A>
void backward_input(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                    Vec<const std::int32_t> target_T, Vec<const float> lse_T,
                    Vec<const float> scale_T, Mat<A> dx_TD);
template <class A>
void backward_weight(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                     Vec<const std::int32_t> target_T, Vec<const float> lse_T,
                     Vec<const float> scale_T, Mat<float> dw_WD_acc);
template <class A>
void backward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD, Vec<const std::int32_t> target_T,
              Vec<const float> lse_T, Vec<const float> scale_T, Mat<A> dx_TD, Mat<float> dw_WD_acc);
template <class A>
void forward_backward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                      Vec<const std::int32_t> target_T, float scale, Vec<float> lse_T,
                      Vec<float> loss_T, Mat<A> dx_TD, Mat<float> dw_WD_acc);

// (2) of logits that are there already: generating makes them once, draws from them and tells log-probabilities l - lse with the bits of -loss.
void log_sum_exp(Context &ctx, Mat<const float> l_RW, Vec<float> lse_R);

} // namespace layers::head_loss

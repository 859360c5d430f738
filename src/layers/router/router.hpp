// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gate of the routed experts (facts of sections 3.1 and 3.3). All in FP32, x converted from A.
//   (1) l = x w^T [T,E]                        (2) s = sigmoid(l) or softmax(l)
//   (3) z = s + bias for the choice only; groups of E/G consecutive experts are scored by the sum of their two highest z (or the
//       highest: GroupScore); the best chosen_groups stay, the others count as -inf; the K highest z of the rest are chosen (ties: lower id)
//   (4) w_k = route_scale * s_k / (sum of the chosen s + 1e-20)  (without normalise: route_scale * s_k)
// Chosen experts of a token are stored in ascending id. Choices are constant in the reverse; the bias gets no gradient.
// Sequence-wise balance loss with coefficient alpha (report, eq. 17-20), per sample of the batch, averaged over samples:
//   (5) L_bal = alpha * mean over samples of sum_i f_i P_i;  f_i = E/(K T_s) * #{t: i in TopK of unbiased s[t]};  P_i = mean_t s'[t,i];  s' = s / sum_j s
//   its own top-k over the unbiased scores, no group limit; f constant in the reverse.
// Reverse: given dw[T,K] (dL/dw_k) and alpha: ds -> dl -> dx = dl w, dw_router += dl^T x.
#include "layers/types.hpp"

namespace layers::router {

struct Saved {
  Mat<float> x_TD; // FP32 copy of the input; empty where not kept (the caller refills it for W)
  Mat<float> scores_TE;        // s
  Mat<std::int32_t> expert_TK; // ascending ids
  Mat<float> weight_TK;
  Mat<float> balance_SE; // f_i of each sample, 0 when alpha is 0
};
inline constexpr Index kMaxExperts = 512, kMaxChosen = 16;

Saved allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Index samples,
               bool keep_input = true);
// x_TD made again in the caller's arena scope where it was not kept (float: the input itself, no copy).
template <class A> Saved refill(Context &ctx, Mat<const A> x_TD, const Saved &saved);

// load_E_acc: copies sent to each expert are added (64-bit integers; training forwards only: pass an empty view otherwise).
// The T rows are samples of T / samples rows each. bias_E may be empty. The balance loss alpha sum_i f_i P_i of each sample is added to
// balance_S_acc (double): L_bal is their mean.
template <class A>
void forward(Context &ctx, const arch::Dims &dims, Mat<const float> w_ED, Vec<const float> bias_E,
             Mat<const A> x_TD, Index samples, double alpha, const Saved &saved,
             Vec<std::int64_t> load_E_acc, Vec<double> balance_S_acc);
// dl_TE is kept for W. dx_TD_acc adds. balance_scale = what multiplies L_bal in the total loss (e.g. samples of the micro-batch / global samples).
template <class A>
void backward_input(Context &ctx, const arch::Dims &dims, Mat<const float> w_ED,
                    Mat<const float> dweight_TK, Index samples, double alpha, double balance_scale,
                    const Saved &saved, Mat<float> dl_TE, Mat<A> dx_TD_acc);
void backward_weight(Context &ctx, Mat<const float> dl_TE, const Saved &saved,
                     Mat<float> dw_ED_acc);

} // namespace layers::router

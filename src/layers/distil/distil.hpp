// SPDX-License-Identifier: Apache-2.0
#pragma once
// Head and loss against a teacher of whom the K most likely tokens of each row are known, in chunks of rows like head_loss.
//   l[t] = x[t] w^T,  z = l / tau,  q = softmax(z)      p[i] = exp(teacher log-probability) of the ids i in K, taken at the same tau
//   (1) rest classes: p_r = max(0, 1 - sum_K p),  q_r = sum of q outside K
//   (2) kl[t] = sum_K p ( log p - log q ) + p_r ( log p_r - log q_r )        0 for a row without ids: its one class is everything
//   (3) ce[t] = lse[t] - l[t, target[t]]   as in head_loss, without tau
//   (4) loss[t] = weight tau^2 kl[t] + (1 - weight) ce[t]                     all 0 where target < 0
// Reverse with scale (dL/dloss[t] = scale):
//   (2') dkl/dz[w] = q[w] - p[w] for w in K,  q[w] - p_r q[w] / q_r outside:  what the teacher did not tell keeps the student's shape
//   dl = scale ( weight tau (2') + (1 - weight) ( softmax(l) - onehot(target) ) );  dx = dl w;  dw += dl^T x
// Why a rest class and not the K renormalised: K tokens renormalised tell the student that all others are impossible. The teacher's
// numbers must be those at tau (who writes them divides the logits by it), since the rest's share at tau cannot be had from those at 1.
// ids of a row differ from each other; an id outside [0, W) is an empty place. Logits and losses are FP32; dl is rounded to A.
#include "layers/types.hpp"

namespace layers::distil {

struct Options {
  double weight = 1; // of the teacher, the rest is cross-entropy
  double temperature = 1;
};

struct Teacher {
  Mat<const std::int32_t> id_TK;
  Mat<const float> logp_TK;
};

// lse_T: of l, without tau. ce_T and kl_T are (3) and (2).
template <class A>
void forward(Context &ctx, const Options &options, Mat<const A> x_TD, Mat<const A> w_WD,
             Vec<const std::int32_t> target_T, const Teacher &teacher, Vec<float> lse_T,
             Vec<float> ce_T, Vec<float> kl_T);
template <class A>
void forward_backward(Context &ctx, const Options &options, Mat<const A> x_TD, Mat<const A> w_WD,
                      Vec<const std::int32_t> target_T, const Teacher &teacher, float scale,
                      Vec<float> lse_T, Vec<float> ce_T, Vec<float> kl_T, Mat<A> dx_TD,
                      Mat<float> dw_WD_acc);

// What a teacher tells: of each row the K ids with the largest logits, largest first (of equal ones the smaller id), and
// z[id] - log sum exp z. Where K is more than W, or logits are not numbers, places stay empty (id -1).
template <class A>
void most_likely(Context &ctx, float temperature, Mat<const A> x_TD, Mat<const A> w_WD,
                 Mat<std::int32_t> id_TK, Mat<float> logp_TK);

} // namespace layers::distil

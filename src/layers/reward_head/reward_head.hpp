// SPDX-License-Identifier: Apache-2.0
#pragma once
// A number for each answer: its reward, read at the last row of the answer. Answers come in pairs (2i better, 2i + 1 worse).
//   (1) r[p] = w . n[row[p]]        (2) m[i] = r[2i] - r[2i+1]        (3) loss[i] = -log sigmoid(m[i]) = log(1 + exp(-m[i]))
// There is no constant term: (2) takes it away again, so that pairs could not train it.
// Reverse with scale (dL/dloss[i] = scale):
//   (3') dr[2i] = -scale sigmoid(-m[i]),  dr[2i+1] = -dr[2i]     (1') dn[row[p]] = dr[p] w, all other rows 0;  dw += dr[p] n[row[p]]
// w and rewards are FP32. Sums over answers are made in their order.
#include "layers/types.hpp"

namespace layers::reward_head {

// (1). row_P: rows of n.
template <class A>
void forward(Context &ctx, Mat<const A> n_TD, Vec<const float> w_D, Vec<const Index> row_P,
             Vec<float> r_P);
// (2), (3), (3'), with half as many pairs as rewards. margin_I receives m.
void pairs(Context &ctx, Vec<const float> r_P, float scale, Vec<float> margin_I, Vec<float> loss_I,
           Vec<float> dr_P);
// (1')
template <class A>
void backward_input(Context &ctx, Vec<const float> dr_P, Vec<const float> w_D,
                    Vec<const Index> row_P, Mat<A> dn_TD);
template <class A>
void backward_weight(Context &ctx, Vec<const float> dr_P, Mat<const A> n_TD, Vec<const Index> row_P,
                     Vec<float> dw_D_acc);

} // namespace layers::reward_head

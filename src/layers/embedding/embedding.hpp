// SPDX-License-Identifier: Apache-2.0
#pragma once
// Token embedding.  (1) x[t] = w[token[t]]      (1') dw[w] += sum over t with token[t] = w, in token order, of dx[t] (FP32).
#include "layers/types.hpp"

namespace layers::embedding {

template <class A>
void forward(Context &ctx, Vec<const std::int32_t> token_T, Mat<const A> w_WD, Mat<A> x_TD);
// Rows are added in token order whatever the number of threads.
template <class A>
void backward_weight(Context &ctx, Vec<const std::int32_t> token_T, Mat<const A> dx_TD,
                     Mat<float> dw_WD_acc);

} // namespace layers::embedding

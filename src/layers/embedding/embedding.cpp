// SPDX-License-Identifier: Apache-2.0
#include "layers/embedding/embedding.hpp"

namespace layers::embedding {

namespace {
constexpr Index kSlices =
    64; // vocabulary rows v with equal v mod kSlices are summed by one task; bits do not depend on it
}

template <class A>
void forward(Context &ctx, Vec<const std::int32_t> token_T, Mat<const A> w_WD, Mat<A> x_TD) {
  const char *label = "layers::embedding::forward";
  const Index T = token_T.extent(0), D = w_WD.extent(1);
  tensor::for_rows(
      ctx, label, T, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *from = &w_WD(token_T(t), 0);
        A *to = &x_TD(t, 0);
        tensor::row_for(row, D,
                        [&](const Index d) { numerics::copy_element(from[d], to[d]); }); // (1)
      });
  ctx.count(label, 0, 2.0 * sizeof(A) * T * D);
}

// A task walks all tokens and takes those of its slice: T comparisons are little beside the rows, and no sorting is needed.
template <class A>
void backward_weight(Context &ctx, Vec<const std::int32_t> token_T, Mat<const A> dx_TD,
                     Mat<float> dw_WD_acc) {
  const char *label = "layers::embedding::backward_weight";
  const Index T = token_T.extent(0), D = dx_TD.extent(1);
  tensor::for_tasks(
      ctx, label, kSlices, KOKKOS_LAMBDA(const tensor::Row &row, const Index slice) {
        for (Index t = 0; t < T; ++t) {
          const std::int32_t token = token_T(t);
          if (token % kSlices != slice) continue;
          const A *dx = &dx_TD(t, 0);
          float *dw = &dw_WD_acc(token, 0);
          tensor::row_for(row, D,
                          [&](const Index d) { dw[d] += static_cast<float>(dx[d]); }); // (1')
        }
      });
  ctx.count(label, 1.0 * T * D, (sizeof(A) + 8.0) * T * D);
}

template void forward(Context &, Vec<const std::int32_t>, Mat<const float>, Mat<float>);
template void forward(Context &, Vec<const std::int32_t>, Mat<const bf16>, Mat<bf16>);
template void backward_weight(Context &, Vec<const std::int32_t>, Mat<const float>, Mat<float>);
template void backward_weight(Context &, Vec<const std::int32_t>, Mat<const bf16>, Mat<float>);

} // namespace layers::embedding

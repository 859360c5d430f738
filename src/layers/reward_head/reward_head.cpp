// SPDX-License-Identifier: Apache-2.0
#include "layers/reward_head/reward_head.hpp"

#include "numerics/elementwise.hpp"

namespace layers::reward_head {

template <class A>
void forward(Context &ctx, Mat<const A> n_TD, Vec<const float> w_D, Vec<const Index> row_P,
             Vec<float> r_P) {
  const Index D = w_D.extent(0);
  tensor::for_rows(
      ctx, "layers::reward_head::forward", static_cast<Index>(row_P.extent(0)),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index p) {
        const A *n = &n_TD(row_P(p), 0);
        const float r = tensor::row_sum(
            row, D, [&](const Index d) { return static_cast<float>(n[d]) * w_D(d); });
        tensor::row_once(row, [&] { r_P(p) = r; });
      });
}

void pairs(Context &ctx, Vec<const float> r_P, float scale, Vec<float> margin_I, Vec<float> loss_I,
           Vec<float> dr_P) {
  tensor::for_each(
      ctx, "layers::reward_head::pairs", static_cast<Index>(r_P.extent(0)) / 2,
      KOKKOS_LAMBDA(const Index i) {
        const float m = r_P(2 * i) - r_P(2 * i + 1);
        const float e = expf(m < 0 ? m : -m); // at most 1
        const float wrong = (m < 0 ? 1.0f : e) / (1.0f + e);
        margin_I(i) = m;
        loss_I(i) = (m < 0 ? -m : 0.0f) + log1pf(e);
        dr_P(2 * i) = -scale * wrong;
        dr_P(2 * i + 1) = scale * wrong;
      });
}

template <class A>
void backward_input(Context &ctx, Vec<const float> dr_P, Vec<const float> w_D,
                    Vec<const Index> row_P, Mat<A> dn_TD) {
  const Index D = w_D.extent(0);
  numerics::fill(ctx, "layers::reward_head::clear", numerics::flat(dn_TD), A(0.0f));
  tensor::for_rows(
      ctx, "layers::reward_head::backward_input", static_cast<Index>(row_P.extent(0)),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index p) {
        A *dn = &dn_TD(row_P(p), 0);
        const float dr = dr_P(p);
        tensor::row_for(row, D, [&](const Index d) { dn[d] = A(dr * w_D(d)); });
      });
}

template <class A>
void backward_weight(Context &ctx, Vec<const float> dr_P, Mat<const A> n_TD, Vec<const Index> row_P,
                     Vec<float> dw_D_acc) {
  const Index P = static_cast<Index>(row_P.extent(0));
  tensor::for_each(
      ctx, "layers::reward_head::backward_weight", static_cast<Index>(dw_D_acc.extent(0)),
      KOKKOS_LAMBDA(const Index d) {
        float sum = 0;
        for (Index p = 0; p < P; ++p) sum += dr_P(p) * static_cast<float>(n_TD(row_P(p), d));
        dw_D_acc(d) += sum;
      });
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void forward(Context &, Mat<const A>, Vec<const float>, Vec<const Index>, Vec<float>);  \
  template void backward_input(Context &, Vec<const float>, Vec<const float>, Vec<const Index>,    \
                               Mat<A>);                                                            \
  template void backward_weight(Context &, Vec<const float>, Mat<const A>, Vec<const Index>,       \
                                Vec<float>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::reward_head

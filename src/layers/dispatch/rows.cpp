// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/rows.hpp"

namespace layers::dispatch {
namespace {

template <class M, class From, class To>
KOKKOS_INLINE_FUNCTION void pass(const From &from, To &to) {
  if constexpr (std::is_same_v<From, M> && std::is_same_v<M, To>)
    numerics::copy_element(from, to);
  else
    to = To(static_cast<float>(M(static_cast<float>(from))));
}

} // namespace

template <class M, class From, class To>
void gather_rows(Context &ctx, const char *label, Vec<const std::int32_t> index,
                 Mat<const From> from_XD, Mat<To> to_ID) {
  const Index D = to_ID.extent(1);
  tensor::for_rows(
      ctx, label, to_ID.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index i) {
        const From *from = &from_XD(index(i), 0);
        To *to = &to_ID(i, 0);
        tensor::row_for(row, D, [&](const Index d) { pass<M>(from[d], to[d]); });
      });
  ctx.count(label, 0, static_cast<double>((sizeof(From) + sizeof(To)) * to_ID.size()));
}

void to_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_TK, Mat<float> value_A1) {
  const Index K = value_TK.extent(1), copies = value_TK.extent(0) * K;
  const auto arrival_TK = plan.arrival_TK;
  tensor::for_each(
      ctx, "layers::dispatch::to_arrivals", copies, KOKKOS_LAMBDA(const Index i) {
        value_A1(arrival_TK(i / K, i % K), 0) = value_TK(i / K, i % K);
      });
}

void from_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_A1, Mat<float> value_TK) {
  const Index K = value_TK.extent(1), copies = value_TK.extent(0) * K;
  const auto arrival_TK = plan.arrival_TK;
  tensor::for_each(
      ctx, "layers::dispatch::from_arrivals", copies, KOKKOS_LAMBDA(const Index i) {
        value_TK(i / K, i % K) = value_A1(arrival_TK(i / K, i % K), 0);
      });
}

#define HADAL_INSTANTIATE(M, From, To)                                                             \
  template void gather_rows<M>(Context &, const char *, Vec<const std::int32_t>, Mat<const From>,  \
                               Mat<To>);
HADAL_INSTANTIATE(float, float, float)
HADAL_INSTANTIATE(bf16, bf16, bf16)
HADAL_INSTANTIATE(bf16, float, float) // rounded on one rank
HADAL_INSTANTIATE(bf16, float, bf16)  // leaves narrow
HADAL_INSTANTIATE(bf16, bf16, float)  // and comes
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

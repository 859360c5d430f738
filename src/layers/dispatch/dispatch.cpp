// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/dispatch.hpp"

#include "layers/dispatch/rows.hpp"
#include "layers/dispatch/sort.hpp"

namespace layers::dispatch {

namespace {

constexpr int kWidth = 32; // elements of a row combined at a time

// Which copies of a token begin an expert group: bit k of the result.
KOKKOS_INLINE_FUNCTION std::uint32_t group_starts(const std::int32_t *expert, int K,
                                                  int per_group) {
  std::uint32_t starts = 1;
  for (int k = 1; k < K; ++k)
    starts |= static_cast<std::uint32_t>(expert[k] / per_group != expert[k - 1] / per_group) << k;
  return starts;
}

// Elements [d, d + n) of a combined row, n <= kWidth. With n a constant (whole) the loops become vector registers.
template <class C, bool kWhole, class A>
KOKKOS_INLINE_FUNCTION void combine_piece(const A *y_A0, Index D, const std::int32_t *arrival,
                                          int K, std::uint32_t starts, const A *base, A *y, Index d,
                                          int rest) {
  const int n = kWhole ? kWidth : rest;
  float total[kWidth], group[kWidth];
  for (int i = 0; i < n; ++i) total[i] = 0, group[i] = 0;
  for (int k = 0; k < K; ++k) {
    if ((starts >> k & 1U) && k > 0)
      for (int i = 0; i < n; ++i) total[i] += static_cast<float>(C(group[i])), group[i] = 0;
    const A *from = y_A0 + arrival[k] * D + d;
    for (int i = 0; i < n; ++i) group[i] += static_cast<float>(from[i]);
  }
  for (int i = 0; i < n; ++i) total[i] += static_cast<float>(C(group[i]));
  if (base)
    for (int i = 0; i < n; ++i) total[i] += static_cast<float>(base[d + i]);
  for (int i = 0; i < n; ++i) y[d + i] = A(total[i]);
}

// C: format of the sum of a group.
template <class C, class A>
void combine_as(Context &ctx, const char *label, const arch::Dims &dims, const Plan &plan,
                Mat<const std::int32_t> expert_TK, Mat<const A> y_AD, Mat<const A> base_TD,
                Mat<A> y_TD) {
  const Index T = y_TD.extent(0), D = y_TD.extent(1), pieces = D / kWidth;
  const int K = static_cast<int>(expert_TK.extent(1)),
            per_group = static_cast<int>(dims.experts / dims.groups);
  const auto arrival_TK = plan.arrival_TK;
  tensor::for_rows(
      ctx, label, T, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const std::int32_t *arrival = &arrival_TK(t, 0);
        const std::uint32_t starts = group_starts(&expert_TK(t, 0), K, per_group);
        const A *base = base_TD.data() ? &base_TD(t, 0) : nullptr;
        A *y = &y_TD(t, 0);
        tensor::row_for(row, pieces, [&](const Index p) {
          combine_piece<C, true>(y_AD.data(), D, arrival, K, starts, base, y, p * kWidth, 0);
        });
        tensor::row_for(row, pieces * kWidth < D, [&](const Index) {
          combine_piece<C, false>(y_AD.data(), D, arrival, K, starts, base, y, pieces * kWidth,
                                  static_cast<int>(D % kWidth));
        });
      });
  ctx.count(label, 1.0 * K * T * D, sizeof(A) * (K + 1.0 + (base_TD.data() ? 1.0 : 0.0)) * T * D);
}

} // namespace

Plan allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Formats formats) {
  Plan plan;
  plan.formats = formats;
  plan.token_A = arena.vec<std::int32_t>(tokens * dims.chosen);
  plan.arrival_TK = arena.mat<std::int32_t>(tokens, dims.chosen);
  plan.offsets_device = arena.vec<Index>(dims.experts + 1);
  if constexpr (tensor::kOnHost)
    plan.offsets = Kokkos::View<Index *, Kokkos::HostSpace>(plan.offsets_device.data(),
                                                            plan.offsets_device.extent(0));
  else
    plan.offsets = Kokkos::View<Index *, Kokkos::HostSpace>("layers::dispatch::offsets",
                                                            plan.offsets_device.extent(0));
  return plan;
}

void plan(Context &ctx, const arch::Dims &dims, Mat<const std::int32_t> expert_TK,
          const Plan &plan) {
  sort(ctx, expert_TK, Keys{0, 1, dims.experts},
       Sorted{plan.token_A, plan.arrival_TK, plan.offsets_device});
  // The host launches one product per expert and needs the row counts: the only wait in a layer.
  if constexpr (!tensor::kOnHost) Kokkos::deep_copy(ctx.exec, plan.offsets, plan.offsets_device);
  tensor::fence(ctx, "layers::dispatch::plan: offsets on the host");
}

template <class A>
void gather(Context &ctx, const char *label, const Plan &plan, Mat<const A> x_TD, Mat<A> x_AD) {
  with_dispatch_type<A>(plan.formats.dispatch, [&](auto type) {
    gather_rows<typename decltype(type)::type>(ctx, label, plan.token_A, x_TD, x_AD);
  });
}

template <class A>
void combine(Context &ctx, const char *label, const arch::Dims &dims, const Plan &plan,
             Mat<const std::int32_t> expert_TK, Mat<const A> y_AD, Mat<const A> base_TD,
             Mat<A> y_TD) {
  with_combine_type<A>(plan.formats.combine, [&](auto type) {
    combine_as<typename decltype(type)::type>(ctx, label, dims, plan, expert_TK, y_AD, base_TD,
                                              y_TD);
  });
}

template void gather(Context &, const char *, const Plan &, Mat<const float>, Mat<float>);
template void gather(Context &, const char *, const Plan &, Mat<const bf16>, Mat<bf16>);
template void combine(Context &, const char *, const arch::Dims &, const Plan &,
                      Mat<const std::int32_t>, Mat<const float>, Mat<const float>, Mat<float>);
template void combine(Context &, const char *, const arch::Dims &, const Plan &,
                      Mat<const std::int32_t>, Mat<const bf16>, Mat<const bf16>, Mat<bf16>);

} // namespace layers::dispatch

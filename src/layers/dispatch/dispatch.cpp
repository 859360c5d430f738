// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/dispatch.hpp"

#include "base/error.hpp"
#include "layers/dispatch/rows.hpp"

namespace layers::dispatch {

namespace {

constexpr Index kBlocks = 64; // blocks of tokens counted apart; the plan does not depend on it
constexpr int kWidth = 32;    // elements of a row combined at a time

// Where each block's copies for each expert begin, counted from the expert's first arrival; the experts' totals.
void count(Context &ctx, Mat<const std::int32_t> expert_TK, Mat<std::int32_t> start_BE,
           Vec<Index> total_E) {
  const Index T = expert_TK.extent(0), K = expert_TK.extent(1), E = total_E.extent(0);
  const Index blocks = start_BE.extent(0), rows = (T + blocks - 1) / blocks;
  tensor::for_each(
      ctx, "layers::dispatch::plan::count", blocks, KOKKOS_LAMBDA(const Index b) {
        for (Index e = 0; e < E; ++e) start_BE(b, e) = 0;
        const Index end = (b + 1) * rows < T ? (b + 1) * rows : T;
        for (Index t = b * rows; t < end; ++t)
          for (Index k = 0; k < K; ++k) ++start_BE(b, expert_TK(t, k));
      });
  tensor::for_each(
      ctx, "layers::dispatch::plan::scan_blocks", E, KOKKOS_LAMBDA(const Index e) {
        std::int32_t sum = 0;
        for (Index b = 0; b < blocks; ++b) {
          const std::int32_t n = start_BE(b, e);
          start_BE(b, e) = sum;
          sum += n;
        }
        total_E(e) = sum;
      });
}

// offsets = running sum of the totals. One thread: there are at most some hundred experts.
void scan_experts(Context &ctx, Vec<const Index> total_E, Vec<Index> offsets) {
  const Index E = total_E.extent(0);
  tensor::for_each(
      ctx, "layers::dispatch::plan::scan_experts", 1, KOKKOS_LAMBDA(const Index) {
        Index sum = 0;
        for (Index e = 0; e < E; ++e) {
          offsets(e) = sum;
          sum += total_E(e);
        }
        offsets(E) = sum;
      });
}

// Each block walks its tokens in order: arrivals of an expert are in token order.
void place(Context &ctx, Mat<const std::int32_t> expert_TK, Mat<std::int32_t> start_BE,
           const Plan &plan) {
  const Index T = expert_TK.extent(0), K = expert_TK.extent(1);
  const Index blocks = start_BE.extent(0), rows = (T + blocks - 1) / blocks;
  const auto token_A = plan.token_A;
  const auto arrival_TK = plan.arrival_TK;
  const auto offsets = plan.offsets_device;
  tensor::for_each(
      ctx, "layers::dispatch::plan::place", blocks, KOKKOS_LAMBDA(const Index b) {
        const Index end = (b + 1) * rows < T ? (b + 1) * rows : T;
        for (Index t = b * rows; t < end; ++t)
          for (Index k = 0; k < K; ++k) {
            const std::int32_t e = expert_TK(t, k);
            const std::int32_t a = static_cast<std::int32_t>(offsets(e)) + start_BE(b, e)++;
            arrival_TK(t, k) = a;
            token_A(a) = static_cast<std::int32_t>(t);
          }
      });
}

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
  HADAL_CHECK(expert_TK.size() < (1ULL << 31) && expert_TK.extent(1) <= 32, "{} x {} token copies",
              expert_TK.extent(0), expert_TK.extent(1));
  tensor::Arena::Scope scope(ctx.arena);
  const auto start_BE = ctx.arena.mat<std::int32_t>(kBlocks, dims.experts);
  const auto total_E = ctx.arena.vec<Index>(dims.experts);
  count(ctx, expert_TK, start_BE, total_E);
  scan_experts(ctx, total_E, plan.offsets_device);
  place(ctx, expert_TK, start_BE, plan);
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

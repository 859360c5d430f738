// SPDX-License-Identifier: Apache-2.0
#pragma once
// Token copies in expert order and back. One rank: a permutation; with expert parallelism an all-to-all goes in between.
// Arrivals are ordered by expert, then by token (global order). A = T K.
//   gather:   x_A[a] = x[token(a)]
//   combine:  y[t] = sum over expert groups g of round( sum_k in g y_A[arrival(t,k)] ) [+ base[t]]
// Law of sums: k in ascending expert id, FP32; the sum of a group is rounded once to the combine format (that is what the node of that
// group would send); groups in order, base (the shared expert) last, FP32, rounded to A. Gathered rows are rounded to the dispatch format.
// Reverse of gather is combine of the gradients, reverse of combine is gather.
#include "layers/dispatch/formats.hpp"
#include "layers/types.hpp"

namespace layers::dispatch {

struct Plan {
  Vec<std::int32_t> token_A;                        // token of each arrival
  Mat<std::int32_t> arrival_TK;                     // arrival of each copy, k as in expert_TK
  Kokkos::View<Index *, Kokkos::HostSpace> offsets; // E + 1, on the host
  Vec<Index> offsets_device;                        // the same (alias on the host)
  Formats formats;
};
// plan(): the one wait of the layers; the host launches products by expert and must know the offsets.
Plan allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Formats formats = {});
void plan(Context &ctx, const arch::Dims &dims, Mat<const std::int32_t> expert_TK,
          const Plan &plan);

template <class A>
void gather(Context &ctx, const char *label, const Plan &plan, Mat<const A> x_TD, Mat<A> x_AD);
// y_TD = combine(y_AD) [+ base_TD when given, last]; group_of(expert) = expert / (E/G) decides the pre-sums.
template <class A>
void combine(Context &ctx, const char *label, const arch::Dims &dims, const Plan &plan,
             Mat<const std::int32_t> expert_TK, Mat<const A> y_AD, Mat<const A> base_TD,
             Mat<A> y_TD);

} // namespace layers::dispatch

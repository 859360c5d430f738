// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/exchange.hpp"

#include <numeric>

#include "base/error.hpp"
#include "layers/dispatch/ways.hpp"

namespace layers::dispatch {
namespace {

comm::Blocks blocks(const std::vector<Index> &rows, std::size_t row_bytes) {
  std::vector<std::size_t> bytes;
  for (const Index n : rows) bytes.push_back(static_cast<std::size_t>(n) * row_bytes);
  return comm::Blocks::packed(std::move(bytes));
}

// Rows to all ranks of the group and from them. reason: name of the wait before they leave.
template <class A>
void travel(Context &ctx, const char *reason, comm::Communicator &ep, Mat<const A> from_X,
            const std::vector<Index> &sent, Mat<A> to_X, const std::vector<Index> &received,
            const char *what) {
  const std::size_t row = sizeof(A) * from_X.extent(1);
  tensor::fence(ctx, reason);
  ep.all_to_all_v(from_X.data(), blocks(sent, row), to_X.data(), blocks(received, row), {what});
}

} // namespace

Index Exchange::rows() const { return std::accumulate(received.begin(), received.end(), Index{0}); }

Exchange meet(Context &ctx, comm::Communicator &ep, tensor::Arena &keep, const arch::Dims &dims,
              const Plan &plan, Mat<const float> weight_TK) {
  const Index E = dims.experts, local = E / ep.size(), ranks = ep.size();
  // Counts of every expert, from every rank.
  std::vector<std::int32_t> mine(static_cast<std::size_t>(E)),
      all(static_cast<std::size_t>(E * ranks));
  for (Index e = 0; e < E; ++e)
    mine[static_cast<std::size_t>(e)] =
        static_cast<std::int32_t>(plan.offsets(e + 1) - plan.offsets(e));
  const std::vector<std::size_t> each(static_cast<std::size_t>(ranks),
                                      static_cast<std::size_t>(E) * sizeof(std::int32_t));
  ep.all_gather_v(mine.data(), all.data(), comm::Blocks::packed(each), {"dispatch counts"});
  Exchange x;
  Index first = 0;
  for (Index r = 0; r < ranks; ++r) {
    x.sent.push_back(plan.offsets((r + 1) * local) - plan.offsets(r * local));
    x.sources.push_back(
        make_source(ctx, keep, all.data() + r * E + ep.rank() * local, local, first));
    x.received.push_back(x.sources.back().rows);
    first += x.sources.back().rows;
  }
  const Mat<float> theirs_B1 = keep.mat<float>(x.rows(), 1);
  for (Source &s : x.sources) s.weight_B1 = Mat<float>(theirs_B1.data() + s.first, s.rows, 1);
  tensor::Arena::Scope scope(ctx.arena);
  const Mat<float> mine_A1 = ctx.arena.mat<float>(weight_TK.size(), 1);
  to_arrivals(ctx, plan, weight_TK, mine_A1);
  to_experts<float>(ctx, ep, x, mine_A1, theirs_B1, "dispatch weights");
  return x;
}

template <class A>
void to_experts(Context &ctx, comm::Communicator &ep, const Exchange &exchange,
                Mat<const A> mine_AX, Mat<A> theirs_BX, const char *what) {
  travel(ctx, "layers::dispatch::to_experts", ep, mine_AX, exchange.sent, theirs_BX,
         exchange.received, what);
  ctx.count("layers::dispatch::to_experts", 0, sizeof(A) * static_cast<double>(mine_AX.size()));
}

template <class A>
void from_experts(Context &ctx, comm::Communicator &ep, const Exchange &exchange,
                  Mat<const A> theirs_BX, Mat<A> mine_AX, const char *what) {
  travel(ctx, "layers::dispatch::from_experts", ep, theirs_BX, exchange.received, mine_AX,
         exchange.sent, what);
  ctx.count("layers::dispatch::from_experts", 0, sizeof(A) * static_cast<double>(mine_AX.size()));
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void to_experts(Context &, comm::Communicator &, const Exchange &, Mat<const A>,        \
                           Mat<A>, const char *);                                                  \
  template void from_experts(Context &, comm::Communicator &, const Exchange &, Mat<const A>,      \
                             Mat<A>, const char *);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

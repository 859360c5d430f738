// SPDX-License-Identifier: Apache-2.0
#pragma once
// Expert parallelism: rank r of an expert group holds experts [r E/ep, (r+1) E/ep). Arrivals travel to the ranks of their experts and
// their results come back, an all-to-all with variable counts each way. Nothing is dropped.
//   A_mine   arrivals of this rank's tokens, in expert order (dispatch.hpp), so that each rank's share is one block of rows
//   B        arrivals of all ranks' tokens on this rank's experts: by source rank, then expert, then token
// The blocks of a source are worked on apart: every product has the rows, and every sum the order, that it has on one rank, so that
// the bits do not depend on ep (law of sums).
#include <memory>

#include "comm/communicator.hpp"
#include "layers/dispatch/dispatch.hpp"

namespace layers::dispatch {

// The rows of one source rank as a plan of their own: row a is the one copy of token a.
struct Source {
  Index first = 0, rows = 0; // rows [first, first + rows) of B
  Plan plan;                 // over the E / ep experts of this rank
  Mat<float> weight_B1;      // routing weight of each row
};

struct Exchange {
  std::vector<Index> sent, received; // rows to and from each rank
  std::vector<Source> sources;       // by rank of the group
  Index rows() const;                // B
};

// Tells all ranks the counts and makes the plans of what comes; waits. weight_TK goes along. `keep`: memory of the plans and weights.
Exchange meet(Context &ctx, comm::Communicator &ep, tensor::Arena &keep, const arch::Dims &dims,
              const Plan &plan, Mat<const float> weight_TK);

// mine_AD -> theirs_BD and back. Both wait until all is there.
template <class A>
void to_experts(Context &ctx, comm::Communicator &ep, const Exchange &exchange,
                Mat<const A> mine_AX, Mat<A> theirs_BX, const char *what);
template <class A>
void from_experts(Context &ctx, comm::Communicator &ep, const Exchange &exchange,
                  Mat<const A> theirs_BX, Mat<A> mine_AX, const char *what);

// Values of the copies [T,K] in the order of the arrivals [A,1], and back.
void to_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_TK, Mat<float> value_A1);
void from_arrivals(Context &ctx, const Plan &plan, Mat<const float> value_A1, Mat<float> value_TK);

// Most rows that can arrive: each of the ep T tokens sends a copy to min(K, E / ep) experts of a rank at most.
Index most_rows(const arch::Dims &dims, Index ep, Index tokens);

} // namespace layers::dispatch

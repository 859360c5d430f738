// SPDX-License-Identifier: Apache-2.0
#pragma once
// Expert parallelism: rank r of an expert group holds experts [r E/ep, (r+1) E/ep). Arrivals travel to the ranks of their experts and
// their results come back, an all-to-all with variable counts each way. Nothing is dropped.
//   A_mine   arrivals of this rank's tokens, in expert order (dispatch.hpp), so that each rank's share is one block of rows
//   B        arrivals of all ranks' tokens on this rank's experts: by source rank, then expert, then token
// The blocks of a source are worked on apart: every product has the rows, and every sum the order, that it has on one rank, so that
// the bits do not depend on ep (law of sums).
#include "layers/dispatch/route.hpp"
#include "layers/dispatch/rows.hpp"

namespace layers::dispatch {

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

} // namespace layers::dispatch

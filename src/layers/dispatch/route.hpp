// SPDX-License-Identifier: Apache-2.0
#pragma once
// One micro-batch's way through one mixture whose experts are shared by an expert group: rank r holds the experts
// [r E/ep, (r+1) E/ep). Nothing is dropped. Four journeys, each posted and landed apart, so that other work lies between:
//   dispatch           x_TD [T,D] -> x_BD      rows of the chosen experts, and the routing weights
//   combine            y_BD -> y_TD            results home, summed by the law of sums (dispatch.hpp)
//   dispatch_gradient  dy_TD -> dy_BD          reverse of combine
//   combine_gradient   dx_BD -> dx_TD          reverse of dispatch, with the gradients of the routing weights
//   B = arrivals of all ranks' tokens on this rank's experts: by source rank, then expert, then token
// The blocks of a source are worked on apart: every product has the rows, and every sum the order, that it has on one rank.
// Ways (all give the same bits):
//   direct     every arrival goes straight to the rank of its expert, every result straight home
//   two_hop    a token goes once to each node that it needs, to the peer of the same local index, which hands it on inside the node;
//              results of an expert group are summed by that peer and cross once (facts: section 6.5)
//   reference  everybody tells everybody everything; loops to read, not to run
#include <memory>
#include <vector>

#include "comm/communicator.hpp"
#include "layers/dispatch/dispatch.hpp"

namespace layers::dispatch {

// The rows of one source rank as a plan of their own: row a is the one copy of token a.
struct Source {
  Index first = 0, rows = 0; // rows [first, first + rows) of B
  Plan plan;                 // over the E / ep experts of this rank
  Mat<float> weight_B1;      // routing weight of each row
};

// The expert group as the mesh gives it (comm/mesh.hpp). node and cross are read by two_hop alone.
struct Group {
  comm::Communicator *ep = nullptr, *node = nullptr, *cross = nullptr;
  Way way = Way::direct;
  Formats formats = {};  // for plans of this group; on one rank (ep null) too
  Index most_tokens = 0; // of any rank of the group; 0: as many as here
};

// Messages under way. Its arrays lie in the arena of the context that started it, in a scope that must last until finish(), or until
// sum() has read what came. All ranks of the group start their flights in the same order and finish them in the same order.
class Flight {
public:
  virtual ~Flight() = default;
  // Never waits; hands on what came (second hop); true when all is there. Takes what lasts from the arena `keep` of its route.
  virtual bool progress(Context &ctx) = 0;
  virtual void finish(Context &ctx) = 0; // waits, within the deadline
};

template <class A> class Route {
public:
  virtual ~Route() = default;
  // Counts, then rows. plan: of this rank's tokens; expert_TK and weight_TK [T,K]. When it has landed, sources() and x_BD() stand, in
  // the arena `keep` of make().
  virtual std::unique_ptr<Flight> dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                           Mat<const float> weight_TK, Mat<const A> x_TD) = 0;
  virtual std::unique_ptr<Flight> combine(Context &ctx, Mat<const A> y_BD) = 0;
  virtual std::unique_ptr<Flight> dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                                    Mat<A> dy_BD) = 0;
  virtual std::unique_ptr<Flight> combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                                   Mat<const float> dweight_B1,
                                                   Mat<float> dweight_TK) = 0;
  // What a landed combine or combine_gradient brought: y_TD = sum over expert groups [+ base_TD, last].
  virtual void sum(Context &ctx, const char *label, Flight &landed, Mat<const A> base_TD,
                   Mat<A> y_TD) = 0;

  void belongs_to(long micro_batch) {
    micro_batch_ = micro_batch;
  } // told by a wait that is overdue
  const std::vector<Source> &sources() const { return sources_; }
  Mat<A> x_BD() const { return x_BD_; }
  Index rows() const { return static_cast<Index>(x_BD_.extent(0)); } // B

protected:
  comm::What what(const char *operation) const { return {operation, micro_batch_}; }
  long micro_batch_ = -1;
  std::vector<Source> sources_;
  Mat<A> x_BD_;
};

// keep: memory that lasts from the forward pass to the end of the backward pass, as that of `plan` must.
template <class A>
std::unique_ptr<Route<A>> make_route(const Group &group, const arch::Dims &dims, const Plan &plan,
                                     tensor::Arena &keep);

// What a route takes at most, for planning with an arena that counts: of `keep`, and of the arena of any one flight.
template <class A>
void count_kept(const Group &group, const arch::Dims &dims, Index tokens, tensor::Arena &keep);
template <class A>
void count_flight(const Group &group, const arch::Dims &dims, Index tokens, tensor::Arena &arena);

// Does every expert group of the router lie on one of the nodes?
bool groups_on_nodes(const arch::Dims &dims, Index nodes);

// Most rows that can arrive: each of the ep T tokens sends a copy to min(K, E / ep) experts of a rank at most.
Index most_rows(const arch::Dims &dims, Index ep, Index tokens);

} // namespace layers::dispatch

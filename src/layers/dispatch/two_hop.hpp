// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two hops between N nodes of P ranks each. Rank r = n P + i; the peers of i are the ranks of the same local index on the other nodes.
//   out    a token crosses once to each node that it needs, to the peer there, which hands it on, once to each rank that needs it; that
//          rank lays it out for its experts. What is chosen travels along.
//   home   a rank's results go to the peer of the token's rank on its own node; the peer sums each expert group and one row of each
//          (token, group) crosses. Where expert groups do not lie on one node each, the law of sums forbids that: every copy crosses.
// In each journey this rank has three parts: source of its tokens, peer for the tokens of its local index on all nodes ("of a": those
// of node a), and rank of its experts. What it has itself is read where it lies, not copied.
#include "layers/dispatch/sort.hpp"
#include "layers/dispatch/sums.hpp"
#include "layers/dispatch/ways.hpp"

namespace layers::dispatch {

// What this rank does as the peer of one node's tokens: lists made when they came, read in all journeys.
struct Handing {
  Index entries = 0;         // tokens of that node's peer that came here
  Rows to_rank;              // those handed on, by local rank; several ranks may need one
  Vec<std::int32_t> entry_A; // entry of each row handed on
  Rows copies;               // results that come back, by local rank
  Mat<std::int32_t> copy_MK; // place of each copy among them
  Mat<std::int32_t> unit_MK; // place of its group's sum; not made where every copy crosses
  Index crossing = 0;        // rows that cross home: the number of these sums, or of the copies
};

// What this rank does as rank of experts with the tokens of one source.
struct Laying {
  Index entries = 0;
  Vec<std::int32_t> entry_B; // entry of each arrival
};

// What lands at home. Its type is that of the sums, or A where every copy crosses.
class Homecoming : public Journey {
public:
  void *rows = nullptr;
};

template <class A> class TwoHop final : public Route<A> {
public:
  TwoHop(const Group &group, const arch::Dims &dims, const Plan &plan, tensor::Arena &keep);

  std::unique_ptr<Flight> dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                   Mat<const float> weight_TK, Mat<const A> x_TD) override;
  std::unique_ptr<Flight> combine(Context &ctx, Mat<const A> y_BD) override;
  std::unique_ptr<Flight> dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                            Mat<A> dy_BD) override;
  std::unique_ptr<Flight> combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                           Mat<const float> dweight_B1,
                                           Mat<float> dweight_TK) override;
  void sum(Context &ctx, const char *label, Flight &landed, Mat<const A> base_TD,
           Mat<A> y_TD) override;

private:
  // Who gets how many, as it is told: by a source to the peers (by node: tokens, tokens of each rank, copies of each expert, sums of
  // each group), by a peer to the ranks of its node (by node of the source: tokens, copies of each expert).
  struct Counts {
    std::vector<std::int32_t> to_peers, from_sources, to_ranks, from_peers;
  };
  // Rows on their way out, and what was chosen (dispatch alone). M: the type in which they leave.
  template <class M> struct Outward {
    Mat<M> leaving, come, handed, given; // of this source; to this peer; by it; to this rank
    Mat<Copy> leaving_choice, come_choice, handed_choice, given_choice;
    int cross_tag = 0, choice_cross_tag = 0;
    std::vector<int> tags, choice_tags; // second hop, by node of the source
    Mat<A> to_BD;
    bool choosing = false;
    std::size_t open = 0; // what must be done before the rows can be laid out
  };
  template <class M> using Out = std::shared_ptr<Outward<M>>;
  // Rows on their way home: those of B to the peer, and what it makes of them to the source.
  struct Homeward {
    comm::What what;
    const char *from_B = nullptr;
    char *copies = nullptr, *units = nullptr, *home = nullptr; // the peer's, by node; this source's
    std::size_t copy_bytes = 0, unit_bytes = 0;                // of a row
    Rows crossing, coming;                                     // rows that cross, by node
    int cross_tag = 0;
    std::vector<int> tags; // first hop, by node of the source
    // Makes the rows that cross of the copies of node a; none: they cross themselves.
    std::function<void(Context &, std::size_t a, const char *copies, char *units)> at_peer;
    std::function<void(Context &)> at_home;
    std::size_t open = 0; // what must come before all is at home
  };
  using Way = std::shared_ptr<Homeward>;

  // two_hop_counts.cpp
  void list_mine(Context &ctx, Mat<const std::int32_t> expert_TK, Counts &counts);
  void tell(Journey &flight, std::shared_ptr<Counts> counts,
            std::function<void(Context &)> told_peer, std::function<void(Context &)> told_rank);
  void pass_on(Counts &counts); // what a peer was told, to its ranks
  void read_as_peer(const Counts &counts);
  void read_as_rank(Context &ctx, const Counts &counts);
  void list_as_peer(Context &ctx, std::size_t a, Mat<const Copy> choice_MK);
  void list_as_rank(Context &ctx, std::size_t s, Mat<const Copy> choice_MK);

  // two_hop_out.cpp
  template <class M>
  std::unique_ptr<Flight> start(Context &ctx, Mat<const float> weight_TK, Mat<const A> x_TD);
  template <class M>
  std::unique_ptr<Flight> start_gradient(Context &ctx, Mat<const A> dy_TD, Mat<A> dy_BD);
  template <class M>
  Out<M> outward(Context &ctx, Index come, Index handed, Index given, bool choice);
  template <class M> void send_leaving(Context &ctx, Journey &flight, const Out<M> &out);
  template <class M> void receive_as_peer(Journey &flight, const Out<M> &out);
  template <class M> void hand_on(Context &ctx, Journey &flight, const Out<M> &out, std::size_t a);
  template <class M> void receive_as_rank(Journey &flight, const Out<M> &out);
  template <class M> void lay_out(Context &ctx, const Outward<M> &out);

  // two_hop_home.cpp
  std::unique_ptr<Homecoming> start_home(Context &ctx, const char *operation, Mat<const A> y_BD);
  Way homeward(const char *operation, const char *from_B, std::size_t row_bytes);
  void go_home(Context &ctx, Journey &flight, const Way &way);
  void at_peer(Context &ctx, Journey &flight, const Way &way, std::size_t a);

  std::size_t ranks() const { return nodes_ * node_ranks_; }
  std::size_t source(std::size_t a, std::size_t i) const { return a * node_ranks_ + i; }
  Keys experts_of_node(Index width, bool once) const {
    return {static_cast<Index>(my_node_) * node_experts_, width, node_experts_ / width, once};
  }
  const char *operation(bool choosing) const { return choosing ? "dispatch" : "dispatch gradient"; }

  arch::Dims dims_;
  Plan plan_;
  tensor::Arena &keep_;
  comm::Communicator &node_, &cross_;
  std::size_t nodes_, node_ranks_, my_node_, my_rank_; // N, P, n, i
  Index local_, node_experts_, group_experts_;         // experts of a rank, a node, a group
  Index most_tokens_;
  bool presum_; // expert groups lie on one node each
  Mat<const std::int32_t> expert_TK_;

  Vec<std::int32_t> token_M_;    // of each row that crosses (or stays on my node), by node
  Mat<std::int32_t> unit_TK_;    // place of each copy's group among what comes home
  Rows to_node_, coming_;        // rows that leave and rows that come home, by node
  std::vector<Handing> handing_; // by node
  std::vector<Laying> laying_;   // by source
};

} // namespace layers::dispatch

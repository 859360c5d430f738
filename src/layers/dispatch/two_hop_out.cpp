// SPDX-License-Identifier: Apache-2.0
// Two hops outward: rows of tokens (or of gradients) to the ranks of their experts.
#include "layers/dispatch/two_hop.hpp"

namespace layers::dispatch {
namespace {

// What leaves: the token's experts and weights.
void choices_leave(Context &ctx, Vec<const std::int32_t> token_M, Mat<const std::int32_t> expert_TK,
                   Mat<const float> weight_TK, Mat<Copy> choice_MK) {
  const Index K = choice_MK.extent(1);
  tensor::for_each(
      ctx, "layers::dispatch::two_hop::choices_leave", choice_MK.size(),
      KOKKOS_LAMBDA(const Index c) {
        const Index t = token_M(c / K), k = c % K;
        choice_MK(c / K, k) = Copy{expert_TK(t, k), weight_TK(t, k)};
      });
}

void choices_handed(Context &ctx, Vec<const std::int32_t> entry_A, Mat<const Copy> from_MK,
                    Mat<Copy> to_AK) {
  const Index K = to_AK.extent(1);
  tensor::for_each(
      ctx, "layers::dispatch::two_hop::choices_handed", to_AK.size(),
      KOKKOS_LAMBDA(const Index c) { to_AK(c / K, c % K) = from_MK(entry_A(c / K), c % K); });
}

template <class M> Mat<M> rows_of(Mat<M> all, Index first, Index rows) {
  return Mat<M>(all.data() + first * static_cast<Index>(all.extent(1)), rows, all.extent(1));
}

void begin_rows(std::vector<comm::Request> &messages, comm::Communicator &group, std::size_t peer,
                int tag, void *data, Index rows, std::size_t row_bytes, comm::What what) {
  if (rows > 0)
    messages.push_back(group.begin(false, static_cast<int>(peer), tag, data,
                                   static_cast<std::size_t>(rows) * row_bytes, what));
}

} // namespace

// Tags of both hops are drawn here, in the same order on all ranks.
template <class A>
template <class M>
auto TwoHop<A>::outward(Context &ctx, Index come, Index handed, Index given, bool choosing)
    -> Out<M> {
  auto out = std::make_shared<Outward<M>>();
  const Index D = dims_.model, K = dims_.chosen;
  out->choosing = choosing;
  out->open = nodes_ + 1; // what each node's peer hands on, and what is handed to this rank
  out->leaving = ctx.arena.mat<M>(to_node_.total, D);
  out->come = ctx.arena.mat<M>(come, D);
  out->handed = ctx.arena.mat<M>(handed, D);
  out->given = ctx.arena.mat<M>(given, D);
  out->cross_tag = cross_.next_tag();
  for (std::size_t a = 0; a < nodes_; ++a) out->tags.push_back(node_.next_tag());
  if (!choosing) return out;
  out->leaving_choice = ctx.arena.mat<Copy>(to_node_.total, K);
  out->come_choice = ctx.arena.mat<Copy>(come, K);
  out->handed_choice = ctx.arena.mat<Copy>(handed, K);
  out->given_choice = ctx.arena.mat<Copy>(given, K);
  out->choice_cross_tag = cross_.next_tag();
  for (std::size_t a = 0; a < nodes_; ++a) out->choice_tags.push_back(node_.next_tag());
  return out;
}

template <class A>
std::unique_ptr<Flight> TwoHop<A>::dispatch(Context &ctx, Mat<const std::int32_t> expert_TK,
                                            Mat<const float> weight_TK, Mat<const A> x_TD) {
  expert_TK_ = expert_TK;
  std::unique_ptr<Flight> flight;
  with_dispatch_type<A>(plan_.formats.dispatch, [&](auto type) {
    flight = start<typename decltype(type)::type>(ctx, weight_TK, x_TD);
  });
  return flight;
}

// Room for as much as can come: the sizes are known when the counts have come, and then nothing more is taken from this arena.
template <class A>
template <class M>
std::unique_ptr<Flight> TwoHop<A>::start(Context &ctx, Mat<const float> weight_TK,
                                         Mat<const A> x_TD) {
  const Index T = std::max<Index>(most_tokens_, x_TD.extent(0)), K = dims_.chosen,
              N = static_cast<Index>(nodes_), P = static_cast<Index>(node_ranks_);
  auto counts = std::make_shared<Counts>();
  list_mine(ctx, expert_TK_, *counts);
  auto flight = std::make_unique<Journey>();
  Journey &same = *flight;
  const Out<M> out = outward<M>(ctx, (N - 1) * T, N * T * std::min(K, P), N * (P - 1) * T, true);
  tell(
      same, counts, [this, out, &same](Context &) { receive_as_peer(same, out); },
      [this, out, counts, &same](Context &later) {
        read_as_rank(later, *counts);
        out->to_BD = this->x_BD_;
        receive_as_rank(same, out);
      });
  gather_rows<M>(ctx, "layers::dispatch::two_hop::gather", token_M_, x_TD, out->leaving);
  choices_leave(ctx, token_M_, expert_TK_, weight_TK, out->leaving_choice);
  send_leaving(ctx, same, out);
  return flight;
}

template <class A>
std::unique_ptr<Flight> TwoHop<A>::dispatch_gradient(Context &ctx, Mat<const A> dy_TD,
                                                     Mat<A> dy_BD) {
  std::unique_ptr<Flight> flight;
  with_dispatch_type<A>(plan_.formats.dispatch, [&](auto type) {
    flight = start_gradient<typename decltype(type)::type>(ctx, dy_TD, dy_BD);
  });
  return flight;
}

template <class A>
template <class M>
std::unique_ptr<Flight> TwoHop<A>::start_gradient(Context &ctx, Mat<const A> dy_TD, Mat<A> dy_BD) {
  Index come = 0, handed = 0, given = 0;
  for (std::size_t a = 0; a < nodes_; ++a) {
    handed += handing_[a].to_rank.total;
    if (a != my_node_) come += handing_[a].entries;
    for (std::size_t i = 0; i < node_ranks_; ++i)
      if (i != my_rank_) given += laying_[source(a, i)].entries;
  }
  auto flight = std::make_unique<Journey>();
  const Out<M> out = outward<M>(ctx, come, handed, given, false);
  out->to_BD = dy_BD;
  receive_as_peer(*flight, out);
  receive_as_rank(*flight, out);
  gather_rows<M>(ctx, "layers::dispatch::two_hop::gather_gradient", token_M_, dy_TD, out->leaving);
  send_leaving(ctx, *flight, out);
  return flight;
}

template <class A>
template <class M>
void TwoHop<A>::send_leaving(Context &ctx, Journey &flight, const Out<M> &out) {
  tensor::fence(ctx, "layers::dispatch::two_hop: rows that leave");
  const comm::What what = this->what(operation(out->choosing));
  std::vector<comm::Request> sends;
  if (out->choosing)
    append(sends, send_rows(cross_, out->choice_cross_tag, out->leaving_choice.data(), to_node_,
                            sizeof(Copy) * dims_.chosen, this->what("dispatch choices")));
  append(sends, send_rows(cross_, out->cross_tag, out->leaving.data(), to_node_,
                          sizeof(M) * dims_.model, what));
  flight.add(std::move(sends));
}

// First hop. What came of a node is handed on when it is there.
template <class A>
template <class M>
void TwoHop<A>::receive_as_peer(Journey &flight, const Out<M> &out) {
  Index first = 0;
  for (std::size_t a = 0; a < nodes_; ++a) {
    std::vector<comm::Request> messages;
    const Index entries = handing_[a].entries;
    if (a != my_node_) {
      if (out->choosing)
        begin_rows(messages, cross_, a, out->choice_cross_tag,
                   rows_of(out->come_choice, first, entries).data(), entries,
                   sizeof(Copy) * dims_.chosen, this->what("dispatch choices"));
      begin_rows(messages, cross_, a, out->cross_tag, rows_of(out->come, first, entries).data(),
                 entries, sizeof(M) * dims_.model, this->what(operation(out->choosing)));
      first += entries;
    }
    flight.add(std::move(messages),
               [this, out, a, &flight](Context &ctx) { hand_on(ctx, flight, out, a); });
  }
}

template <class A>
template <class M>
void TwoHop<A>::hand_on(Context &ctx, Journey &flight, const Out<M> &out, std::size_t a) {
  const Handing &h = handing_[a];
  Index first = 0, handed = 0;
  for (std::size_t n = 0; n < a; ++n) {
    handed += handing_[n].to_rank.total;
    if (n != my_node_) first += handing_[n].entries;
  }
  const bool own = a == my_node_;
  if (own) first = to_node_.first[a];
  std::vector<comm::Request> sends;
  const Mat<M> to = rows_of(out->handed, handed, h.to_rank.total);
  Mat<Copy> to_choice;
  if (out->choosing) {
    const Mat<const Copy> choice =
        rows_of(own ? out->leaving_choice : out->come_choice, first, h.entries);
    list_as_peer(ctx, a, choice);
    to_choice = rows_of(out->handed_choice, handed, h.to_rank.total);
    choices_handed(ctx, h.entry_A, choice, to_choice);
  }
  const Mat<const M> from = rows_of(own ? out->leaving : out->come, first, h.entries);
  gather_rows<M>(ctx, "layers::dispatch::two_hop::hand_on", h.entry_A, from, to);
  tensor::fence(ctx, "layers::dispatch::two_hop: rows handed on");
  if (out->choosing)
    append(sends, send_rows(node_, out->choice_tags[a], to_choice.data(), h.to_rank,
                            sizeof(Copy) * dims_.chosen, this->what("dispatch choices")));
  append(sends, send_rows(node_, out->tags[a], to.data(), h.to_rank, sizeof(M) * dims_.model,
                          this->what(operation(out->choosing))));
  flight.add(std::move(sends));
  if (--out->open == 0) lay_out(ctx, *out);
}

// Second hop: from the other peers of this node, those of each node's tokens apart.
template <class A>
template <class M>
void TwoHop<A>::receive_as_rank(Journey &flight, const Out<M> &out) {
  Index first = 0;
  std::vector<comm::Request> messages;
  for (std::size_t s = 0; s < ranks(); ++s) {
    const std::size_t a = s / node_ranks_, i = s % node_ranks_;
    const Index entries = laying_[s].entries;
    if (i == my_rank_) continue;
    if (out->choosing)
      begin_rows(messages, node_, i, out->choice_tags[a],
                 rows_of(out->given_choice, first, entries).data(), entries,
                 sizeof(Copy) * dims_.chosen, this->what("dispatch choices"));
    begin_rows(messages, node_, i, out->tags[a], rows_of(out->given, first, entries).data(),
               entries, sizeof(M) * dims_.model, this->what(operation(out->choosing)));
    first += entries;
  }
  flight.add(std::move(messages), [this, out](Context &ctx) {
    if (--out->open == 0) lay_out(ctx, *out);
  });
}

// All is there: rows of each source by expert, then token.
template <class A> template <class M> void TwoHop<A>::lay_out(Context &ctx, const Outward<M> &out) {
  Index given = 0, handed = 0;
  for (std::size_t s = 0; s < ranks(); ++s) {
    const Handing &h = handing_[s / node_ranks_];
    const bool own = s % node_ranks_ == my_rank_;
    const Index entries = laying_[s].entries;
    const Index first = own ? handed + h.to_rank.first[my_rank_] : given;
    if (out.choosing)
      list_as_rank(ctx, s, rows_of(own ? out.handed_choice : out.given_choice, first, entries));
    const Source &source = this->sources_[s];
    const Mat<const M> from = rows_of(own ? out.handed : out.given, first, entries);
    gather_rows<M>(ctx, "layers::dispatch::two_hop::lay_out",
                   Vec<const std::int32_t>(laying_[s].entry_B), from,
                   rows_of(out.to_BD, source.first, source.rows));
    if (!own) given += entries;
    if (s % node_ranks_ + 1 == node_ranks_) handed += h.to_rank.total;
  }
}

template <class A>
std::unique_ptr<Route<A>> make_two_hop(const Group &group, const arch::Dims &dims, const Plan &plan,
                                       tensor::Arena &keep) {
  return std::make_unique<TwoHop<A>>(group, dims, plan, keep);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template std::unique_ptr<Flight> TwoHop<A>::dispatch(Context &, Mat<const std::int32_t>,         \
                                                       Mat<const float>, Mat<const A>);            \
  template std::unique_ptr<Flight> TwoHop<A>::dispatch_gradient(Context &, Mat<const A>, Mat<A>);  \
  template std::unique_ptr<Route<A>> make_two_hop(const Group &, const arch::Dims &, const Plan &, \
                                                  tensor::Arena &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

// SPDX-License-Identifier: Apache-2.0
// Two hops: who gets how many of whose rows, and the lists by which they are put in order.
#include "base/error.hpp"
#include "layers/dispatch/two_hop.hpp"

namespace layers::dispatch {
namespace {

std::vector<Index> on_host(Context &ctx, Vec<const Index> offsets) {
  std::vector<Index> host(offsets.extent(0));
  Kokkos::deep_copy(
      ctx.exec,
      Kokkos::View<Index *, Kokkos::HostSpace, Kokkos::MemoryUnmanaged>(host.data(), host.size()),
      offsets);
  tensor::fence(ctx, "layers::dispatch::two_hop: counts on the host");
  return host;
}

void place_weights(Context &ctx, Mat<const Copy> choice_MK, Mat<const std::int32_t> place_MK,
                   Mat<float> weight_B1) {
  const Index K = choice_MK.extent(1);
  tensor::for_each(
      ctx, "layers::dispatch::two_hop::place_weights", choice_MK.size(),
      KOKKOS_LAMBDA(const Index c) {
        const std::int32_t place = place_MK(c / K, c % K);
        if (place >= 0) weight_B1(place, 0) = choice_MK(c / K, c % K).weight;
      });
}

} // namespace

template <class A>
TwoHop<A>::TwoHop(const Group &group, const arch::Dims &dims, const Plan &plan, tensor::Arena &keep)
    : dims_(dims), plan_(plan), keep_(keep), node_(*group.node), cross_(*group.cross),
      nodes_(static_cast<std::size_t>(group.cross->size())),
      node_ranks_(static_cast<std::size_t>(group.node->size())),
      my_node_(static_cast<std::size_t>(group.cross->rank())),
      my_rank_(static_cast<std::size_t>(group.node->rank())),
      local_(dims.experts / group.ep->size()), node_experts_(dims.experts / group.cross->size()),
      group_experts_(dims.experts / dims.groups), most_tokens_(group.most_tokens),
      presum_(groups_on_nodes(dims, group.cross->size())) {
  HADAL_CHECK(static_cast<int>(ranks()) == group.ep->size() &&
                  static_cast<int>(source(my_node_, my_rank_)) == group.ep->rank(),
              "rank {} of {} experts' ranks is {} of {} on node {} of {}", group.ep->rank(),
              group.ep->size(), my_rank_, node_ranks_, my_node_, nodes_);
}

// As source: my tokens by node and by rank, my groups at home.
template <class A>
void TwoHop<A>::list_mine(Context &ctx, Mat<const std::int32_t> expert_TK, Counts &counts) {
  const Index T = expert_TK.extent(0), K = expert_TK.extent(1), N = static_cast<Index>(nodes_);
  expert_TK_ = expert_TK;
  token_M_ = keep_.vec<std::int32_t>(T * std::min(K, N));
  const auto sorted = [&](const Keys &keys, Vec<std::int32_t> tokens, Mat<std::int32_t> places) {
    const Vec<Index> offsets = ctx.arena.vec<Index>(keys.count + 1);
    sort(ctx, expert_TK, keys, Sorted{tokens, places, offsets});
    return on_host(ctx, offsets);
  };
  const auto nodes = sorted({0, node_experts_, N, true}, token_M_, {});
  const auto ranks = sorted({0, local_, static_cast<Index>(this->ranks()), true}, {}, {});
  std::vector<Index> groups;
  if (presum_) {
    unit_TK_ = keep_.mat<std::int32_t>(T, K);
    groups = sorted({0, group_experts_, dims_.groups, true}, {}, unit_TK_);
  }
  std::vector<Index> to_node, from_node;
  for (std::size_t n = 0; n < nodes_; ++n) {
    const auto number = [&](Index value) {
      counts.to_peers.push_back(static_cast<std::int32_t>(value));
    };
    to_node.push_back(nodes[n + 1] - nodes[n]);
    number(to_node.back());
    for (std::size_t r = source(n, 0); r < source(n + 1, 0); ++r) number(ranks[r + 1] - ranks[r]);
    const Index first = static_cast<Index>(n) * node_experts_;
    for (Index e = first; e < first + node_experts_; ++e)
      number(plan_.offsets(e + 1) - plan_.offsets(e));
    Index rows = plan_.offsets(first + node_experts_) - plan_.offsets(first);
    if (presum_) {
      const auto g = static_cast<std::size_t>(first / group_experts_),
                 end = static_cast<std::size_t>((first + node_experts_) / group_experts_);
      rows = groups[end] - groups[g];
    }
    number(rows);
    from_node.push_back(rows);
  }
  to_node_ = Rows(to_node), coming_ = Rows(from_node);
}

// told_peer: sizes of the first hop stand; told_rank: those of the second, with sources and x_BD.
template <class A>
void TwoHop<A>::tell(Journey &flight, std::shared_ptr<Counts> counts,
                     std::function<void(Context &)> told_peer,
                     std::function<void(Context &)> told_rank) {
  constexpr std::size_t kNumber = sizeof(std::int32_t);
  const comm::What what = this->what("dispatch counts");
  const Rows by_node(
      std::vector<Index>(nodes_, static_cast<Index>(counts->to_peers.size() / nodes_))),
      by_rank(std::vector<Index>(node_ranks_, static_cast<Index>(nodes_) * (1 + local_)));
  const int cross_tag = cross_.next_tag(), node_tag = node_.next_tag();
  auto &mine = counts->to_peers, &come = counts->from_sources;
  come.resize(mine.size());
  keep_rows(cross_, mine.data(), by_node, come.data(), by_node, kNumber, what);
  flight.add(receive_rows(cross_, cross_tag, come.data(), by_node, kNumber, what),
             [=, this, &flight](Context &ctx) {
               auto &handed = counts->to_ranks, &given = counts->from_peers;
               read_as_peer(*counts);
               pass_on(*counts);
               given.resize(handed.size());
               keep_rows(node_, handed.data(), by_rank, given.data(), by_rank, kNumber, what);
               flight.add(receive_rows(node_, node_tag, given.data(), by_rank, kNumber, what),
                          told_rank);
               flight.add(send_rows(node_, node_tag, handed.data(), by_rank, kNumber, what));
               told_peer(ctx);
             });
  flight.add(send_rows(cross_, cross_tag, mine.data(), by_node, kNumber, what));
}

template <class A> void TwoHop<A>::pass_on(Counts &counts) {
  const std::size_t length = counts.from_sources.size() / nodes_,
                    experts = static_cast<std::size_t>(local_);
  for (std::size_t j = 0; j < node_ranks_; ++j)
    for (std::size_t a = 0; a < nodes_; ++a) {
      const std::int32_t *told = counts.from_sources.data() + a * length;
      counts.to_ranks.push_back(told[1 + j]);
      const std::int32_t *of_expert = told + 1 + node_ranks_ + j * experts;
      counts.to_ranks.insert(counts.to_ranks.end(), of_expert, of_expert + experts);
    }
}

template <class A> void TwoHop<A>::read_as_peer(const Counts &counts) {
  const std::size_t length = counts.from_sources.size() / nodes_,
                    experts = static_cast<std::size_t>(local_);
  handing_.clear();
  for (std::size_t a = 0; a < nodes_; ++a) {
    const std::int32_t *told = counts.from_sources.data() + a * length;
    Handing h;
    h.entries = told[0];
    std::vector<Index> to_rank(told + 1, told + 1 + node_ranks_), copies(node_ranks_, 0);
    const std::int32_t *of_expert = told + 1 + node_ranks_;
    for (std::size_t e = 0; e < node_ranks_ * experts; ++e) copies[e / experts] += of_expert[e];
    h.to_rank = Rows(to_rank), h.copies = Rows(copies);
    h.crossing = told[length - 1];
    h.entry_A = keep_.vec<std::int32_t>(h.to_rank.total);
    if (presum_) {
      h.copy_MK = keep_.mat<std::int32_t>(h.entries, dims_.chosen);
      h.unit_MK = keep_.mat<std::int32_t>(h.entries, dims_.chosen);
    }
    handing_.push_back(std::move(h));
  }
}

template <class A> void TwoHop<A>::read_as_rank(Context &ctx, const Counts &counts) {
  const std::size_t experts = static_cast<std::size_t>(local_);
  std::vector<std::int32_t> of_expert; // by source
  laying_.clear();
  for (std::size_t a = 0; a < nodes_; ++a)
    for (std::size_t i = 0; i < node_ranks_; ++i) {
      const std::int32_t *told = counts.from_peers.data() + (i * nodes_ + a) * (1 + experts);
      laying_.push_back({told[0], {}});
      of_expert.insert(of_expert.end(), told + 1, told + 1 + experts);
    }
  Mat<float> weight_B1;
  this->sources_ = make_sources(ctx, keep_, of_expert, local_, weight_B1);
  for (std::size_t s = 0; s < laying_.size(); ++s)
    laying_[s].entry_B = keep_.vec<std::int32_t>(this->sources_[s].rows);
  this->x_BD_ = keep_.mat<A>(static_cast<Index>(weight_B1.extent(0)), dims_.model);
}

template <class A>
void TwoHop<A>::list_as_peer(Context &ctx, std::size_t a, Mat<const Copy> choice_MK) {
  const Handing &h = handing_[a];
  tensor::Arena::Scope scope(ctx.arena);
  const Vec<Index> offsets = ctx.arena.vec<Index>(node_experts_ + 1);
  sort(ctx, choice_MK, experts_of_node(local_, true), Sorted{h.entry_A, {}, offsets});
  if (!presum_) return;
  sort(ctx, choice_MK, experts_of_node(1, false), Sorted{{}, h.copy_MK, offsets});
  sort(ctx, choice_MK, experts_of_node(group_experts_, true), Sorted{{}, h.unit_MK, offsets});
}

template <class A>
void TwoHop<A>::list_as_rank(Context &ctx, std::size_t s, Mat<const Copy> choice_MK) {
  const Source &source = this->sources_[s];
  tensor::Arena::Scope scope(ctx.arena);
  const Mat<std::int32_t> place_MK =
      ctx.arena.mat<std::int32_t>(choice_MK.extent(0), choice_MK.extent(1));
  const Vec<Index> offsets = ctx.arena.vec<Index>(local_ + 1);
  const Index first = static_cast<Index>(this->source(my_node_, my_rank_)) * local_;
  sort(ctx, choice_MK, Keys{first, 1, local_}, Sorted{laying_[s].entry_B, place_MK, offsets});
  place_weights(ctx, choice_MK, place_MK, source.weight_B1);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template TwoHop<A>::TwoHop(const Group &, const arch::Dims &, const Plan &, tensor::Arena &);    \
  template void TwoHop<A>::list_mine(Context &, Mat<const std::int32_t>, Counts &);                \
  template void TwoHop<A>::tell(Journey &, std::shared_ptr<Counts>,                                \
                                std::function<void(Context &)>, std::function<void(Context &)>);   \
  template void TwoHop<A>::read_as_rank(Context &, const Counts &);                                \
  template void TwoHop<A>::list_as_peer(Context &, std::size_t, Mat<const Copy>);                  \
  template void TwoHop<A>::list_as_rank(Context &, std::size_t, Mat<const Copy>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

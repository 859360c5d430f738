// SPDX-License-Identifier: Apache-2.0
// Two hops home: results of the experts (or gradients) by way of the peer, which sums what is of one expert group.
#include "layers/dispatch/two_hop.hpp"

namespace layers::dispatch {

template <class A>
auto TwoHop<A>::homeward(const char *operation, const char *from_B, std::size_t row_bytes) -> Way {
  auto way = std::make_shared<Homeward>();
  way->what = this->what(operation);
  way->from_B = from_B;
  way->copy_bytes = way->unit_bytes = row_bytes;
  way->open = nodes_ + 1; // what this rank makes of each node's copies, and what comes across
  way->cross_tag = cross_.next_tag();
  for (std::size_t a = 0; a < nodes_; ++a) way->tags.push_back(node_.next_tag());
  std::vector<Index> crossing;
  for (const Handing &h : handing_) crossing.push_back(h.crossing);
  way->crossing = Rows(crossing), way->coming = coming_;
  return way;
}

template <class A>
std::unique_ptr<Homecoming> TwoHop<A>::start_home(Context &ctx, const char *operation,
                                                  Mat<const A> y_BD) {
  const Index D = dims_.model;
  auto flight = std::make_unique<Homecoming>();
  const Way way = homeward(operation, reinterpret_cast<const char *>(y_BD.data()), sizeof(A) * D);
  Index copies = 0;
  for (const Handing &h : handing_) copies += h.copies.total;
  way->copies = reinterpret_cast<char *>(ctx.arena.mat<A>(copies, D).data());
  if (presum_) {
    with_combine_type<A>(plan_.formats.combine, [&](auto type) {
      using C = typename decltype(type)::type;
      way->unit_bytes = sizeof(C) * static_cast<std::size_t>(D);
      way->units = reinterpret_cast<char *>(ctx.arena.mat<C>(way->crossing.total, D).data());
      way->home = reinterpret_cast<char *>(ctx.arena.mat<C>(coming_.total, D).data());
      way->at_peer = [this, D](Context &later, std::size_t a, const char *from, char *to) {
        const Handing &h = handing_[a];
        sum_units<C, A>(later, "layers::dispatch::two_hop::sum_units", h.copy_MK, h.unit_MK,
                        Mat<const A>(reinterpret_cast<const A *>(from), h.copies.total, D),
                        Mat<C>(reinterpret_cast<C *>(to), h.crossing, D));
      };
    });
  } else {
    way->home = reinterpret_cast<char *>(ctx.arena.mat<A>(coming_.total, D).data());
  }
  flight->rows = way->home;
  go_home(ctx, *flight, way);
  return flight;
}

template <class A> std::unique_ptr<Flight> TwoHop<A>::combine(Context &ctx, Mat<const A> y_BD) {
  return start_home(ctx, "combine", y_BD);
}

// Gradients of the routing weights are not summed: each crosses, in the order of this rank's arrivals.
template <class A>
std::unique_ptr<Flight> TwoHop<A>::combine_gradient(Context &ctx, Mat<const A> dx_BD,
                                                    Mat<const float> dweight_B1,
                                                    Mat<float> dweight_TK) {
  auto flight = start_home(ctx, "combine gradient", dx_BD);
  const Way way = homeward("combine gradient of weights",
                           reinterpret_cast<const char *>(dweight_B1.data()), sizeof(float));
  std::vector<Index> crossing, coming;
  for (std::size_t n = 0; n < nodes_; ++n) {
    const Index first = static_cast<Index>(n) * node_experts_;
    crossing.push_back(handing_[n].copies.total);
    coming.push_back(plan_.offsets(first + node_experts_) - plan_.offsets(first));
  }
  way->crossing = Rows(crossing), way->coming = Rows(coming);
  const Mat<float> dweight_A1 = ctx.arena.mat<float>(way->coming.total, 1);
  way->copies = reinterpret_cast<char *>(ctx.arena.mat<float>(way->crossing.total, 1).data());
  way->home = reinterpret_cast<char *>(dweight_A1.data());
  way->at_home = [this, dweight_A1, dweight_TK](Context &later) {
    from_arrivals(later, plan_, Mat<const float>(dweight_A1), dweight_TK);
  };
  go_home(ctx, *flight, way);
  return flight;
}

// First hop: the rows of each source to its peer, those of each node apart.
template <class A> void TwoHop<A>::go_home(Context &ctx, Journey &flight, const Way &way) {
  tensor::fence(ctx, "layers::dispatch::two_hop: results that leave");
  const std::size_t bytes = way->copy_bytes;
  std::vector<comm::Request> sends;
  Index first = 0;
  for (std::size_t a = 0; a < nodes_; ++a) {
    const Rows &copies = handing_[a].copies;
    Rows mine(std::vector<Index>(node_ranks_, 0)); // the sources of a node lie behind one another
    for (std::size_t i = 0; i < node_ranks_; ++i) {
      mine.count[i] = this->sources_[source(a, i)].rows;
      mine.first[i] = this->sources_[source(a, i)].first;
    }
    char *const to = way->copies + static_cast<std::size_t>(first) * bytes;
    flight.add(receive_rows(node_, way->tags[a], to, copies, bytes, way->what),
               [this, way, a, &flight](Context &later) { at_peer(later, flight, way, a); });
    append(sends, send_rows(node_, way->tags[a], way->from_B, mine, bytes, way->what));
    keep_rows(node_, way->from_B, mine, to, copies, bytes, way->what);
    first += copies.total;
  }
  flight.add(
      receive_rows(cross_, way->cross_tag, way->home, way->coming, way->unit_bytes, way->what),
      [way](Context &later) {
        if (--way->open == 0 && way->at_home) way->at_home(later);
      });
  flight.add(std::move(sends));
}

// Second hop: what all ranks of this node have for the tokens of node a.
template <class A>
void TwoHop<A>::at_peer(Context &ctx, Journey &flight, const Way &way, std::size_t a) {
  const auto offset = [](const Rows &rows, std::size_t n, std::size_t bytes) {
    return static_cast<std::size_t>(rows.first[n]) * bytes;
  };
  Index first = 0;
  for (std::size_t n = 0; n < a; ++n) first += handing_[n].copies.total;
  char *const copies = way->copies + static_cast<std::size_t>(first) * way->copy_bytes,
              *const home = way->home + offset(way->coming, my_node_, way->unit_bytes);
  const auto bytes = static_cast<std::size_t>(way->crossing.count[a]) * way->unit_bytes;
  char *to = copies;
  if (way->at_peer) {
    to = a == my_node_ ? home : way->units + offset(way->crossing, a, way->unit_bytes);
    way->at_peer(ctx, a, copies, to);
    tensor::fence(ctx, "layers::dispatch::two_hop: sums that leave");
  }
  if (a == my_node_) {
    cross_.keep(home, to, bytes, way->what);
  } else if (bytes) {
    std::vector<comm::Request> sends;
    sends.push_back(cross_.begin(true, static_cast<int>(a), way->cross_tag, to, bytes, way->what));
    flight.add(std::move(sends));
  }
  if (--way->open == 0 && way->at_home) way->at_home(ctx);
}

template <class A>
void TwoHop<A>::sum(Context &ctx, const char *label, Flight &landed, Mat<const A> base_TD,
                    Mat<A> y_TD) {
  const void *rows = static_cast<Homecoming &>(landed).rows;
  const Index D = dims_.model;
  if (!presum_) {
    const Mat<const A> y_AD(static_cast<const A *>(rows), coming_.total, D);
    dispatch::combine(ctx, label, dims_, plan_, expert_TK_, y_AD, base_TD, y_TD);
    return;
  }
  with_combine_type<A>(plan_.formats.combine, [&](auto type) {
    using C = typename decltype(type)::type;
    const Mat<const C> unit_UD(static_cast<const C *>(rows), coming_.total, D);
    add_units<C, A>(ctx, label, unit_TK_, unit_UD, base_TD, y_TD);
  });
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template auto TwoHop<A>::homeward(const char *, const char *, std::size_t)->Way;                 \
  template std::unique_ptr<Flight> TwoHop<A>::combine(Context &, Mat<const A>);                    \
  template std::unique_ptr<Flight> TwoHop<A>::combine_gradient(Context &, Mat<const A>,            \
                                                               Mat<const float>, Mat<float>);      \
  template void TwoHop<A>::sum(Context &, const char *, Flight &, Mat<const A>, Mat<A>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/route.hpp"

#include <numeric>

#include "base/error.hpp"
#include "layers/dispatch/sort.hpp"
#include "layers/dispatch/ways.hpp"

namespace layers::dispatch {

Index most_rows(const arch::Dims &dims, Index ep, Index tokens) {
  return ep * tokens * std::min(dims.chosen, dims.experts / ep);
}

bool groups_on_nodes(const arch::Dims &dims, Index nodes) { return dims.groups % nodes == 0; }

Source make_source(Context &ctx, tensor::Arena &keep, const std::int32_t *counts, Index experts,
                   Index first) {
  Source s;
  s.first = first;
  s.rows = std::accumulate(counts, counts + experts, Index{0});
  s.plan.token_A = keep.vec<std::int32_t>(s.rows);
  s.plan.arrival_TK = keep.mat<std::int32_t>(s.rows, 1);
  s.plan.offsets_device = keep.vec<Index>(experts + 1);
  if constexpr (tensor::kOnHost)
    s.plan.offsets =
        Kokkos::View<Index *, Kokkos::HostSpace>(s.plan.offsets_device.data(), experts + 1);
  else
    s.plan.offsets =
        Kokkos::View<Index *, Kokkos::HostSpace>("layers::dispatch::offsets", experts + 1);
  s.plan.offsets(0) = 0;
  for (Index e = 0; e < experts; ++e) s.plan.offsets(e + 1) = s.plan.offsets(e) + counts[e];
  if constexpr (!tensor::kOnHost)
    Kokkos::deep_copy(ctx.exec, s.plan.offsets_device, s.plan.offsets);
  const auto token_A = s.plan.token_A;
  const auto arrival_TK = s.plan.arrival_TK;
  tensor::for_each(
      ctx, "layers::dispatch::make_source", s.rows, KOKKOS_LAMBDA(const Index a) {
        token_A(a) = static_cast<std::int32_t>(a);
        arrival_TK(a, 0) = static_cast<std::int32_t>(a);
      });
  return s;
}

std::vector<Source> make_sources(Context &ctx, tensor::Arena &keep,
                                 const std::vector<std::int32_t> &counts, Index experts,
                                 Mat<float> &weight_B1) {
  std::vector<Source> sources;
  Index rows = 0;
  for (std::size_t first = 0; first < counts.size(); first += static_cast<std::size_t>(experts)) {
    sources.push_back(make_source(ctx, keep, counts.data() + first, experts, rows));
    rows += sources.back().rows;
  }
  weight_B1 = keep.mat<float>(rows, 1);
  for (Source &s : sources) s.weight_B1 = Mat<float>(weight_B1.data() + s.first, s.rows, 1);
  return sources;
}

template <class A>
std::unique_ptr<Route<A>> make_route(const Group &group, const arch::Dims &dims, const Plan &plan,
                                     tensor::Arena &keep) {
  HADAL_CHECK(group.ep && dims.experts % group.ep->size() == 0, "{} experts, {} ranks",
              dims.experts, group.ep ? group.ep->size() : 0);
  switch (group.way) {
  case Way::direct: return make_direct<A>(group, dims, plan, keep);
  case Way::two_hop: return make_two_hop<A>(group, dims, plan, keep);
  case Way::reference: return make_reference<A>(group, dims, plan, keep);
  }
  HADAL_CHECK(false, "way {}", static_cast<int>(group.way));
  return nullptr;
}

template <class A>
void count_kept(const Group &group, const arch::Dims &dims, Index tokens, tensor::Arena &keep) {
  const Index ep = group.ep->size(), T = std::max(tokens, group.most_tokens), K = dims.chosen;
  const Index rows = most_rows(dims, ep, T);
  for (Index source = 0; source < ep; ++source) {
    keep.vec<Index>(dims.experts / ep + 1);
    for (int array = 0; array < 3; ++array) keep.vec<std::int32_t>(rows / ep);
  }
  keep.mat<float>(rows, 1);
  keep.mat<A>(rows, dims.model);
  if (group.way != Way::two_hop) return;
  const Index N = group.cross->size(), P = group.node->size();
  keep.vec<std::int32_t>(T * std::min(K, N));
  keep.mat<std::int32_t>(T, K);
  for (Index a = 0; a < N; ++a) {
    keep.vec<std::int32_t>(T * std::min(K, P));
    for (int array = 0; array < 2; ++array) keep.mat<std::int32_t>(T, K);
  }
}

namespace {

template <class A>
void count_direct(const arch::Dims &dims, Index ep, Index T, Formats formats,
                  tensor::Arena &arena) {
  const Index copies = T * dims.chosen, rows = most_rows(dims, ep, T);
  arena.mat<float>(copies, 1);
  arena.mat<A>(copies, dims.model);
  with_dispatch_type<A>(formats.dispatch, [&](auto type) {
    using M = typename decltype(type)::type;
    if (!std::is_same_v<M, A>) arena.mat<M>(rows, dims.model);
  });
}

// Outward and homeward; a flight is one of the two.
template <class A>
std::size_t count_outward(const arch::Dims &dims, Index N, Index P, Index T, Formats formats) {
  auto arena = tensor::Arena::counting("layers::dispatch::outward");
  const Index K = dims.chosen,
              rows[] = {T * std::min(K, N), (N - 1) * T, N * T * std::min(K, P), N * (P - 1) * T};
  for (const Index n : rows) {
    with_dispatch_type<A>(formats.dispatch, [&](auto type) {
      arena.mat<typename decltype(type)::type>(n, dims.model);
    });
    arena.mat<Copy>(n, K);
  }
  for (int offsets = 0; offsets < 3; ++offsets) arena.vec<Index>(dims.experts + 1);
  return arena.used();
}

template <class A> std::size_t count_homeward(const arch::Dims &dims, Index N, Index T) {
  auto arena = tensor::Arena::counting("layers::dispatch::homeward");
  const Index D = dims.model, copies = N * T * std::min(dims.chosen, dims.experts / N);
  arena.mat<A>(copies, D);
  arena.mat<float>(copies, D); // sums that cross, of whatever type; or the copies themselves
  arena.mat<float>(T * dims.chosen, D);
  arena.mat<float>(copies, 1);
  arena.mat<float>(T * dims.chosen, 1);
  return arena.used();
}

} // namespace

template <class A>
void count_flight(const Group &group, const arch::Dims &dims, Index tokens, tensor::Arena &arena) {
  const Formats formats = group.formats;
  const Index T = std::max(tokens, group.most_tokens);
  if (group.way == Way::direct) count_direct<A>(dims, group.ep->size(), T, formats, arena);
  if (group.way != Way::two_hop) return;
  const Index N = group.cross->size(), P = group.node->size();
  arena.vec<char>(static_cast<Index>(
      std::max(count_outward<A>(dims, N, P, T, formats), count_homeward<A>(dims, N, T))));
  arena.mat<std::int32_t>(T, dims.chosen); // of progress(), for a moment
  arena.vec<char>(static_cast<Index>(sort_scratch(dims.experts)));
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template std::unique_ptr<Route<A>> make_route(const Group &, const arch::Dims &, const Plan &,   \
                                                tensor::Arena &);                                  \
  template void count_kept<A>(const Group &, const arch::Dims &, Index, tensor::Arena &);          \
  template void count_flight<A>(const Group &, const arch::Dims &, Index, tensor::Arena &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

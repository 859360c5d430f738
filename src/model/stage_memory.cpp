// SPDX-License-Identifier: Apache-2.0
// Bytes of a stage: the same allocations as those of the passes, in an arena that only counts.
#include <algorithm>

#include "layers/head_loss/head_loss.hpp"
#include "model/objective_head.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

namespace {

// What B makes for the arrivals of a whole expert group, as many as can come, and what it makes again.
template <class A>
void count_visitor_deltas(Arena &arena, const arch::Dims &dims, Index ep, Index tokens) {
  const Index rows = dispatch::most_rows(dims, ep, tokens);
  arena.template mat<A>(rows, dims.model);
  for (int array = 0; array < 3; ++array)
    for (Index source = 0; source < ep; ++source) // the ends of arrays are padded
      arena.template mat<A>(rows / ep + 1, dims.expert_hidden);
}

// What F keeps of them beside the route.
template <class A>
void count_visitors(Arena &arena, const arch::Dims &dims, Index ep, Index tokens, bool swiglu) {
  const Index rows = dispatch::most_rows(dims, ep, tokens);
  for (int array = 0; array < (swiglu ? 3 : 2); ++array)
    for (Index source = 0; source < ep; ++source)
      arena.template mat<A>(rows / ep + 1, dims.expert_hidden);
}

template <class F> std::size_t counted(const F &f) {
  Arena arena = Arena::counting("model::stage");
  f(arena);
  return arena.used();
}

} // namespace

template <class A> std::size_t Stage<A>::tape_bytes(bool deferred) const {
  const Index T = samples_ * sequence_, D = dims_.model;
  Stream stream; // as wide as the widest: MTP streams are narrower
  stream.samples = samples_, stream.rows = sequence_;
  return counted([&](Arena &arena) {
           arena.template mat<double>(moe_blocks(), samples_);
           for (int array = 0; array < 2; ++array) arena.template mat<A>(T, D); // x_0, dx_0
           for (std::size_t b = 0; b < blocks(); ++b) {
             const BlockEnv kept = env(layer_of(b));
             block::allocate<A>(arena, kept, stream);
             arena.template mat<A>(T, D);
             if (group_.ep && !dims_.is_dense(kept.layer)) {
               dispatch::count_kept<A>(group_, dims_, T, arena);
               count_visitors<A>(arena, dims_, group_.ep->size(), T, !recompute_.swiglu);
             }
             if (deferred) arena.template mat<A>(T, D);
           }
           if (!part_.head) return;
           objective::count(arena, objective_, T);
           for (Index k = 0; k <= dims_.mtp_depth; ++k) {
             const int arrays = k == 0 ? 3 : deferred ? 10 : 7;
             for (int array = 0; array < arrays; ++array) arena.template mat<A>(T, D);
             rms_norm::allocate(arena, T);
             for (int vector = 0; vector < 2; ++vector) arena.template vec<float>(T);
             if (k == 0) continue;
             mtp::allocate<A>(arena, dims_, T);
             if (deferred) mtp::allocate_deltas<A>(arena, dims_, T);
           }
         }) +
         (deferred ? blocks() * rest_bytes() : 0);
}

// Refilled fields and deltas.
template <class A> std::size_t Stage<A>::rest_bytes() const {
  const Index T = samples_ * sequence_;
  Stream stream;
  stream.samples = samples_, stream.rows = sequence_;
  std::size_t most = 0;
  for (std::size_t b = 0; b < blocks(); ++b) {
    const BlockEnv kept = env(layer_of(b));
    BlockEnv everything = kept;
    everything.recompute = {false, false, false, false};
    const auto saved = [&](const BlockEnv &of) {
      return counted([&](Arena &arena) { block::allocate<A>(arena, of, stream); });
    };
    const std::size_t deltas = counted([&](Arena &arena) {
      block::allocate_deltas<A>(arena, kept, stream);
      if (group_.ep && !dims_.is_dense(kept.layer))
        count_visitor_deltas<A>(arena, dims_, group_.ep->size(), T);
    });
    most = std::max(most, saved(everything) - saved(kept) + deltas);
  }
  return most;
}

template <class A> std::size_t Stage<A>::verbs_bytes() const {
  const Index T = samples_ * sequence_, D = dims_.model;
  // Outputs of the arrivals, chunks of logits, tiles of the attention threads, temporaries of the refills.
  const auto arrivals =
      static_cast<std::size_t>(T * std::max<Index>(1, dims_.moe() ? dims_.chosen : 1));
  const auto widest = static_cast<std::size_t>(
      std::max({3 * dims_.dense_hidden, 4 * dims_.shared * dims_.expert_hidden, 4 * D,
                2 * dims_.heads * (dims_.head_dim() + dims_.nope + dims_.value)}));
  const std::size_t scratch =
      sizeof(float) * (arrivals * static_cast<std::size_t>(4 * D + 4 * dims_.expert_hidden) +
                       static_cast<std::size_t>(T) * widest +
                       static_cast<std::size_t>(head_loss::kChunkRows *
                                                (3 * dims_.vocabulary + objective_.teacher)) +
                       static_cast<std::size_t>(12 * T * D + 4 * T * dims_.experts));
  std::size_t visitors = 0; // what they send back, and two journeys
  if (group_.ep)
    visitors = counted([&](Arena &arena) {
      const Index rows = dispatch::most_rows(dims_, group_.ep->size(), T);
      for (int array = 0; array < 2; ++array) arena.template mat<A>(rows, D);
      for (int array = 0; array < 2; ++array) arena.template mat<A>(rows, dims_.expert_hidden);
      for (int vector = 0; vector < 4; ++vector) arena.template vec<float>(rows);
      for (int flight = 0; flight < 2; ++flight) dispatch::count_flight<A>(group_, dims_, T, arena);
    });
  return scratch + visitors + (std::size_t{64} << 20);
}

template <class A> std::size_t Stage<A>::walk_bytes() const {
  const Index T = samples_ * sequence_, D = dims_.model;
  return counted([&](Arena &arena) {
    for (int array = 0; array < 2; ++array) arena.template mat<A>(T, D);
    if (part_.head)
      for (Index k = 0; k < dims_.mtp_depth; ++k) {
        for (int array = 0; array < 4; ++array) arena.template mat<A>(T, D);
        mtp::allocate_deltas<A>(arena, dims_, T);
      }
  });
}

template <class A> std::size_t Stage<A>::scratch_bytes() const {
  return verbs_bytes() + walk_bytes() + rest_bytes();
}

template <class A> std::size_t Stage<A>::pair_scratch_bytes() const {
  return verbs_bytes() + walk_bytes() + 2 * rest_bytes();
}

template <class A> std::size_t Stage<A>::arena_bytes() const {
  return tape_bytes(false) + scratch_bytes();
}

template std::size_t Stage<float>::tape_bytes(bool) const;
template std::size_t Stage<bf16>::tape_bytes(bool) const;
template std::size_t Stage<float>::scratch_bytes() const;
template std::size_t Stage<bf16>::scratch_bytes() const;
template std::size_t Stage<float>::pair_scratch_bytes() const;
template std::size_t Stage<bf16>::pair_scratch_bytes() const;
template std::size_t Stage<float>::rest_bytes() const;
template std::size_t Stage<bf16>::rest_bytes() const;
template std::size_t Stage<float>::arena_bytes() const;
template std::size_t Stage<bf16>::arena_bytes() const;

} // namespace model

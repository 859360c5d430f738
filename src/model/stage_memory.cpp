// SPDX-License-Identifier: Apache-2.0
// Bytes of a stage: the same allocations as those of the passes, in an arena that only counts.
#include <algorithm>

#include "layers/head_loss/head_loss.hpp"
#include "model/stage.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

namespace {

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
      if (!deferred) continue;
      const BlockEnv everything{dims_, arch::Recompute{false, false, false, false}, rope_,
                                kept.layer};
      block::allocate<A>(arena, everything, stream); // more than what is refilled
      block::allocate_deltas<A>(arena, kept, stream);
      arena.template mat<A>(T, D);
    }
    if (!part_.head) return;
    for (Index k = 0; k <= dims_.mtp_depth; ++k) {
      const int arrays = k == 0 ? 3 : deferred ? 10 : 7;
      for (int array = 0; array < arrays; ++array) arena.template mat<A>(T, D);
      rms_norm::allocate(arena, T);
      for (int vector = 0; vector < 2; ++vector) arena.template vec<float>(T);
      if (k == 0) continue;
      mtp::allocate<A>(arena, dims_, T);
      if (deferred) mtp::allocate_deltas<A>(arena, dims_, T);
    }
  });
}

template <class A> std::size_t Stage<A>::scratch_bytes() const {
  const Index T = samples_ * sequence_, D = dims_.model;
  Stream stream;
  stream.samples = samples_, stream.rows = sequence_;
  std::size_t most_deltas = 0;
  for (std::size_t b = 0; b < blocks(); ++b)
    most_deltas = std::max(most_deltas, counted([&](Arena &arena) {
                             block::allocate_deltas<A>(arena, env(layer_of(b)), stream);
                           }));
  // Scratch of the verbs: refilled fields, outputs of the arrivals, chunks of logits, tiles of the attention threads.
  const auto arrivals =
      static_cast<std::size_t>(T * std::max<Index>(1, dims_.moe() ? dims_.chosen : 1));
  const auto widest = static_cast<std::size_t>(
      std::max({3 * dims_.dense_hidden, 4 * dims_.shared * dims_.expert_hidden, 4 * D,
                2 * dims_.heads * (dims_.head_dim() + dims_.nope + dims_.value)}));
  const std::size_t scratch =
      sizeof(float) * (arrivals * static_cast<std::size_t>(4 * D + 4 * dims_.expert_hidden) +
                       static_cast<std::size_t>(T) * widest +
                       static_cast<std::size_t>(3 * head_loss::kChunkRows * dims_.vocabulary) +
                       static_cast<std::size_t>(12 * T * D + 4 * T * dims_.experts));
  return most_deltas + scratch + (std::size_t{64} << 20);
}

template <class A> std::size_t Stage<A>::arena_bytes() const {
  return tape_bytes(false) + scratch_bytes();
}

template std::size_t Stage<float>::tape_bytes(bool) const;
template std::size_t Stage<bf16>::tape_bytes(bool) const;
template std::size_t Stage<float>::scratch_bytes() const;
template std::size_t Stage<bf16>::scratch_bytes() const;
template std::size_t Stage<float>::arena_bytes() const;
template std::size_t Stage<bf16>::arena_bytes() const;

} // namespace model

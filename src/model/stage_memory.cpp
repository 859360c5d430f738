// SPDX-License-Identifier: Apache-2.0
// Bytes of a stage: the same allocations as those of the passes, in an arena that only counts.
#include <algorithm>

#include "layers/head_loss/head_loss.hpp"
#include "model/stage.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

namespace {

// Arrays for the arrivals of a whole expert group, as many as can come. later: what B and W need beside.
template <class A>
void allocate_visitors(Arena &arena, const arch::Dims &dims, Index ep, Index tokens, bool later) {
  const Index rows = dispatch::most_rows(dims, ep, tokens);
  const auto small = [&] { // plans and weights of each source
    for (Index source = 0; source < ep; ++source) arena.template vec<Index>(dims.experts / ep + 1);
    for (int vector = 0; vector < 3; ++vector) arena.template vec<float>(rows + 64 * ep);
  };
  if (later) {
    arena.template mat<A>(rows, dims.model); // dy
    for (Index i = 0; i < 4; ++i) arena.template mat<A>(rows + 64 * ep, dims.expert_hidden);
    arena.template mat<A>(rows, dims.model); // the deltas' own dy, taken before it is replaced
    return;
  }
  small();
  arena.template mat<A>(rows, dims.model);
  for (int array = 0; array < 3; ++array) arena.template mat<A>(rows + 64 * ep, dims.expert_hidden);
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
      const bool shared = ep_ && !dims_.is_dense(kept.layer);
      if (shared) allocate_visitors<A>(arena, dims_, ep_->size(), T, false);
      if (!deferred) continue;
      if (shared) allocate_visitors<A>(arena, dims_, ep_->size(), T, true);
      const BlockEnv everything{dims_, arch::Recompute{false, false, false, false}, rope_,
                                kept.layer, ep_};
      block::allocate<A>(arena, everything, stream); // more than what is refilled
      block::allocate_deltas<A>(arena, kept, stream);
      arena.template mat<A>(T, D);
    }
    if (ep_ && !deferred) { // one block's at a time
      allocate_visitors<A>(arena, dims_, ep_->size(), T, true);
      const BlockEnv last = env(layer_of(blocks() - 1));
      const BlockEnv everything{dims_, arch::Recompute{false, false, false, false}, rope_,
                                last.layer, ep_};
      block::allocate<A>(arena, everything, stream);
      block::allocate_deltas<A>(arena, last, stream);
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
  std::size_t visitors = 0; // what they send back
  if (ep_)
    visitors = counted([&](Arena &arena) {
      const Index rows = dispatch::most_rows(dims_, ep_->size(), T);
      for (int array = 0; array < 2; ++array) arena.template mat<A>(rows, D);
      for (int array = 0; array < 2; ++array) arena.template mat<A>(rows, dims_.expert_hidden);
      for (int vector = 0; vector < 4; ++vector) arena.template vec<float>(rows);
    });
  return most_deltas + scratch + visitors + (std::size_t{64} << 20);
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

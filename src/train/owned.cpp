// SPDX-License-Identifier: Apache-2.0
#include "train/owned.hpp"

#include <algorithm>
#include <tuple>

namespace train {

using model::Slot;
using tensor::Index;

bool of_experts(const Slot &slot) { return slot.spec.sharding == arch::Sharding::experts; }

comm::Communicator &replicas_of(const Chunk &chunk, bool experts) {
  return experts ? *chunk.expert_replicas : *chunk.replicas;
}

bool owns(const Chunk &chunk, const arch::Dims &dims, const Slot &slot) {
  if (slot.copy || !chunk.part.holds(dims, slot.spec)) return false;
  return slot.spec.name != "embedding" || chunk.part.embedding;
}

namespace {

// Cuts of a stage's tensors of one kind, by slot. Large tensors first; the blocks that cannot be shared evenly go to the replicas that have
// least. All replicas find the same. The embedding comes before all others, so that it is cut alike on the first stage and on the
// last, whose replicas send each other its pieces.
std::vector<comm::Cut> cuts_of(const Chunk &chunk, const model::Layout &layout, bool experts) {
  std::vector<const Slot *> slots;
  for (const Slot &slot : layout.slots())
    if (of_experts(slot) == experts && chunk.part.holds(layout.dims(), slot.spec))
      slots.push_back(&slot);
  std::sort(slots.begin(), slots.end(), [](const Slot *a, const Slot *b) {
    const auto key = [](const Slot &s) {
      return std::tuple(s.spec.name != "embedding", -s.size, s.order);
    };
    return key(*a) < key(*b);
  });
  const int ranks = replicas_of(chunk, experts).size();
  std::vector<Index> load(static_cast<std::size_t>(ranks), 0);
  std::vector<comm::Cut> cuts(layout.slots().size());
  for (const Slot *slot : slots) {
    const auto least = std::min_element(load.begin(), load.end()) - load.begin();
    comm::Cut &cut = cuts[static_cast<std::size_t>(slot - layout.slots().data())];
    cut = comm::cut_evenly(slot->size, ranks, static_cast<int>(least), kOwnBlock);
    for (int r = 0; r < ranks; ++r) load[static_cast<std::size_t>(r)] += cut.size(r);
  }
  return cuts;
}

} // namespace

const comm::Cut &Ownership::cut(std::size_t chunk, const Slot &slot) const {
  const auto index = static_cast<std::size_t>(&slot - layout_.slots().data());
  return cuts_[chunk][of_experts(slot) ? 1 : 0][index];
}

Ownership::Ownership(const Ranks &ranks, const model::Layout &layout, bool cut_matrices)
    : layout_(layout), masters_(cut_matrices ? layout.plain_size() : layout.size()) {
  for (const Chunk &chunk : ranks.chunks())
    cuts_.push_back({cuts_of(chunk, layout, false), cuts_of(chunk, layout, true)});
  for (const Slot &slot : layout.slots())
    for (std::size_t c = 0; c < ranks.chunks().size(); ++c) {
      const Chunk &chunk = ranks.chunks()[c];
      if (!owns(chunk, layout.dims(), slot)) continue;
      const comm::Cut &cut = this->cut(c, slot);
      const auto me = static_cast<std::size_t>(replicas_of(chunk, of_experts(slot)).rank());
      Owned piece{&slot, cut.begin[me], cut.begin[me + 1], moments_, slot.offset + cut.begin[me]};
      if (piece.size() == 0) continue;
      moments_ += model::aligned(piece.size());
      if (cut_matrices && !slot.plain()) {
        piece.master = masters_;
        masters_ += model::aligned(piece.size());
      }
      pieces_.push_back(piece);
    }
}

} // namespace train

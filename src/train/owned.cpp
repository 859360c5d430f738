// SPDX-License-Identifier: Apache-2.0
#include "train/owned.hpp"

#include <algorithm>
#include <numeric>

#include "numerics/elementwise.hpp"

namespace train {

using model::Slot;
using tensor::Index;
using tensor::Vec;

namespace {

bool of_experts(const Slot &slot) { return slot.spec.sharding == arch::Sharding::experts; }
comm::Communicator &replicas_of(const Chunk &chunk, const Slot &slot) {
  return of_experts(slot) ? *chunk.expert_replicas : *chunk.replicas;
}
// The tensor's own stage; a copy of the embedding belongs to another.
bool owns(const Chunk &chunk, const arch::Dims &dims, const Slot &slot) {
  if (slot.copy || !chunk.part.holds(dims, slot.spec)) return false;
  return slot.spec.name != "embedding" || chunk.part.embedding;
}

} // namespace

comm::Cut Ownership::cut(const Chunk &chunk, const Slot &slot) const {
  const int ranks = replicas_of(chunk, slot).size();
  return comm::cut_evenly(slot.size, ranks, static_cast<int>(slot.order % ranks), kOwnBlock);
}

Ownership::Ownership(const Ranks &ranks, const model::Layout &layout, bool cut_matrices)
    : masters_(cut_matrices ? layout.plain_size() : layout.size()) {
  for (const Slot &slot : layout.slots())
    for (const Chunk &chunk : ranks.chunks()) {
      if (!owns(chunk, layout.dims(), slot)) continue;
      const comm::Cut cut = this->cut(chunk, slot);
      const auto me = static_cast<std::size_t>(replicas_of(chunk, slot).rank());
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

Exchange::Exchange(const Ranks &ranks, const model::Layout &layout, const Ownership &ownership,
                   std::vector<Gradients> &gradients)
    : ranks_(ranks), layout_(layout), ownership_(ownership), gradients_(gradients) {
  Index most = 0;
  for (std::size_t c = 0; c < ranks.chunks().size(); ++c)
    for (const bool experts : {false, true}) {
      const Chunk &chunk = ranks.chunks()[c];
      const auto &comm = experts ? *chunk.expert_replicas : *chunk.replicas;
      std::vector<comm::Part> shapes;
      for (const Slot &slot : layout.slots())
        for (Index use = 0; use < layout.uses(); ++use)
          if (of_experts(slot) == experts && slot.spec.trained() &&
              chunk.part.holds(layout.dims(), slot.spec))
            shapes.push_back({nullptr, ownership.cut(chunk, slot)});
      most =
          std::max(most, comm::ReduceScatter::scratch_elements(shapes, comm.rank(), comm.size()));
    }
  // The embedding's further uses come from the last stage.
  if (const Slot *embedding = layout.find("embedding"); embedding && ranks.stages() > 1)
    for (const Owned &piece : ownership.pieces())
      if (piece.slot == embedding) most = std::max(most, piece.end - piece.begin);
  scratch_ = Vec<float>("train::exchange", most);
}

std::vector<comm::Part> Exchange::parts(std::size_t c, bool experts) const {
  const Chunk &chunk = ranks_.chunks()[c];
  std::vector<comm::Part> list;
  for (const Slot &slot : layout_.slots()) {
    if (of_experts(slot) != experts || !slot.spec.trained()) continue;
    for (Index use = 0; use < layout_.uses(); ++use)
      if (const Vec<float> total = gradients_[c].total(slot, use); total.extent(0) > 0)
        list.push_back({total.data(), ownership_.cut(chunk, slot)});
  }
  return list;
}

std::size_t Exchange::chunk_of(const Slot &slot) const {
  for (std::size_t c = 0; c < ranks_.chunks().size(); ++c)
    if (owns(ranks_.chunks()[c], layout_.dims(), slot)) return c;
  HADAL_CHECK(false, "{} belongs to no stage of this rank", slot.spec.name);
  return 0;
}

Vec<float> Exchange::gradient(const Owned &piece) const {
  const Vec<float> total = gradients_[chunk_of(*piece.slot)].total(*piece.slot);
  return Vec<float>(total.data() + piece.begin, piece.end - piece.begin);
}

// Main first, then the depths. The head's uses lie on one stage. The embedding's depths lie on the last stage, its main use on the
// first: where these are different ranks, the last sends its pieces.
void Exchange::add_uses(tensor::Context &ctx) {
  if (layout_.uses() == 1) return;
  const auto &chunks = ranks_.chunks();
  for (const Slot &slot : layout_.slots()) {
    const bool head = slot.spec.name == "head";
    if (!head && slot.spec.name != "embedding") continue;
    for (int direction = 0; direction < ranks_.directions(); ++direction) {
      std::size_t from = chunks.size(), to = chunks.size();
      for (std::size_t c = 0; c < chunks.size(); ++c) {
        if (chunks[c].direction != direction) continue;
        if (chunks[c].part.head) from = c;
        if (head ? chunks[c].part.head : chunks[c].part.embedding) to = c;
      }
      const bool sends = from < chunks.size(), receives = to < chunks.size();
      for (Index use = 1; use < layout_.uses(); ++use) {
        const int tag = static_cast<int>(use);
        const comm::What what{"embedding gradient"};
        const auto piece = [&](std::size_t c, Index of) {
          const comm::Cut cut = ownership_.cut(chunks[c], slot);
          const auto me = static_cast<std::size_t>(chunks[c].replicas->rank());
          return Vec<float>(gradients_[c].total(slot, of).data() + cut.begin[me],
                            cut.begin[me + 1] - cut.begin[me]);
        };
        if (sends && receives) {
          numerics::add(ctx, "train::exchange::uses", Vec<const float>(piece(from, use)),
                        piece(to, 0));
        } else if (sends) {
          const auto data = piece(from, use);
          ranks_.mesh().pp->send(ranks_.rank_of(0, direction), tag, data.data(),
                                 data.size() * sizeof(float), what);
        } else if (receives) {
          const auto total = piece(to, 0);
          const Vec<float> part(scratch_.data(), total.size());
          HADAL_CHECK(total.size() <= scratch_.size() || total.size() == 0, "scratch of {} for {}",
                      scratch_.size(), total.size());
          ranks_.mesh().pp->recv(ranks_.rank_of(ranks_.stages() - 1, direction), tag, part.data(),
                                 part.size() * sizeof(float), what);
          numerics::add(ctx, "train::exchange::uses", Vec<const float>(part), total);
        }
      }
    }
  }
}

// Two ranks that hold the same two stages must meet in the same order.
std::vector<std::size_t> Exchange::by_stage() const {
  std::vector<std::size_t> order(ranks_.chunks().size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return ranks_.chunks()[a].stage < ranks_.chunks()[b].stage;
  });
  return order;
}

void Exchange::reduce(tensor::Context &ctx) {
  for (const std::size_t c : by_stage()) {
    gradients_[c].finish(ctx);
    tensor::fence(ctx, "train::exchange::reduce"); // reason: the sums leave this rank
    const Chunk &chunk = ranks_.chunks()[c];
    for (const bool experts : {false, true}) {
      comm::Communicator &comm = experts ? *chunk.expert_replicas : *chunk.replicas;
      if (comm.size() > 1)
        comm::reduce_scatter(ctx, comm, parts(c, experts), scratch_, {"gradient sum"});
    }
  }
  tensor::fence(ctx, "train::exchange::uses"); // reason: pieces may leave this rank
  add_uses(ctx);
}

void Exchange::spread(tensor::Context &ctx, const std::function<Whole(const Slot &)> &of) {
  tensor::fence(ctx, "train::exchange::spread"); // reason: weights leave this rank
  const auto &dims = layout_.dims();
  for (const std::size_t c : by_stage())
    for (const bool experts : {false, true}) {
      const Chunk &chunk = ranks_.chunks()[c];
      comm::Communicator &comm = experts ? *chunk.expert_replicas : *chunk.replicas;
      if (comm.size() == 1) continue;
      std::vector<comm::Pieces> pieces;
      for (const Slot &slot : layout_.slots())
        if (of_experts(slot) == experts && slot.spec.trained() && owns(chunk, dims, slot))
          pieces.push_back({of(slot).data, of(slot).element, ownership_.cut(chunk, slot)});
      comm::all_gather(ctx, comm, pieces, {"weights"});
    }
  // The last stage's copy of the embedding.
  const Slot *embedding = layout_.find("embedding");
  const bool copied =
      dims.mtp_depth > 0 && ranks_.mesh().place.pp > 1 && ranks_.chunks().size() == 1;
  if (!copied || !embedding) return;
  comm::Communicator &pp = *ranks_.mesh().pp;
  const auto [data, element] = of(*embedding);
  const std::size_t bytes = static_cast<std::size_t>(embedding->size) * element;
  if (embedding->copy)
    pp.recv(0, 0, data, bytes, {"embedding"});
  else
    pp.send(pp.size() - 1, 0, data, bytes, {"embedding"});
}

} // namespace train

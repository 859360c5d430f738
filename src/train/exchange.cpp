// SPDX-License-Identifier: Apache-2.0
#include "train/exchange.hpp"

#include <algorithm>
#include <numeric>

#include "numerics/elementwise.hpp"

namespace train {

using model::Slot;
using tensor::Index;
using tensor::Vec;

namespace {

// Two ranks that hold the same two stages must meet in the same order.
std::vector<std::size_t> by_stage(const Ranks &ranks) {
  std::vector<std::size_t> order(ranks.chunks().size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return ranks.chunks()[a].stage < ranks.chunks()[b].stage;
  });
  return order;
}

// f(slot, use) of all gradients in a bucket of one kind, in the order of the layout.
template <class F>
void for_gradients(const model::Layout &layout, const Buckets &buckets, std::size_t bucket,
                   bool experts, const F &f) {
  for (const Slot &slot : layout.slots()) {
    if (of_experts(slot) != experts || !slot.spec.trained()) continue;
    for (Index use = 0; use < layout.uses(); ++use)
      if (const auto &place = buckets.place(slot, use); place.here && place.bucket == bucket)
        f(slot, use);
  }
}

} // namespace

// Any two neighbours fit beside each other.
Index Exchange::Channel::elements() const {
  Index most = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i)
    most = std::max(most, sizes[i] + (i + 1 < sizes.size() ? sizes[i + 1] : 0));
  return most;
}

std::vector<Exchange::Channel>
Exchange::channels(const Ranks &ranks, const model::Layout &layout, const Ownership &ownership,
                   const std::function<const Buckets &(std::size_t)> &buckets) {
  std::vector<Channel> list;
  for (const std::size_t c : by_stage(ranks))
    for (const bool experts : {false, true}) {
      const Chunk &chunk = ranks.chunks()[c];
      Channel channel;
      channel.chunk = c, channel.experts = experts, channel.comm = &replicas_of(chunk, experts);
      if (channel.comm->size() == 1) continue;
      for (std::size_t b = 0; b < buckets(c).count(); ++b) {
        std::vector<comm::Part> shapes;
        for_gradients(layout, buckets(c), b, experts, [&](const Slot &slot, Index) {
          shapes.push_back({nullptr, ownership.cut(c, slot)});
        });
        if (shapes.empty()) continue;
        channel.buckets.push_back(b);
        channel.sizes.push_back(comm::ReduceScatter::scratch_elements(shapes, channel.comm->rank(),
                                                                      channel.comm->size()));
      }
      list.push_back(std::move(channel));
    }
  return list;
}

// What the first stage receives of the embedding from the last one.
Index Exchange::uses_elements(const Ranks &ranks, const model::Layout &layout,
                              const Ownership &ownership) {
  Index most = 0;
  if (layout.uses() > 1 && ranks.stages() > 1)
    for (const Owned &piece : ownership.pieces())
      if (piece.slot->spec.name == "embedding") most = std::max(most, piece.size());
  return most;
}

std::size_t Exchange::bytes(const Ranks &ranks, const model::Layout &layout,
                            const Ownership &ownership, const std::vector<Buckets> &buckets) {
  Index elements = uses_elements(ranks, layout, ownership);
  for (const Channel &channel : channels(
           ranks, layout, ownership, [&](std::size_t c) -> const Buckets & { return buckets[c]; }))
    elements += channel.elements();
  return static_cast<std::size_t>(elements) * sizeof(float);
}

Exchange::Exchange(const Ranks &ranks, const model::Layout &layout, const Ownership &ownership,
                   std::vector<Gradients> &gradients)
    : ranks_(ranks), layout_(layout), ownership_(ownership), gradients_(gradients),
      channels_(channels(ranks, layout, ownership,
                         [&](std::size_t c) -> const Buckets & { return gradients[c].buckets(); })),
      uses_("train::exchange", uses_elements(ranks, layout, ownership)) {
  for (Channel &channel : channels_)
    channel.scratch = Vec<float>("train::exchange", channel.elements());
  for (std::size_t c = 0; c < gradients.size(); ++c)
    gradients[c].when_whole(
        [this, c](tensor::Context &ctx, std::size_t bucket) { bucket_is_whole(ctx, c, bucket); });
}

void Exchange::begin_step() {
  for (Gradients &of_chunk : gradients_) of_chunk.begin_step();
  for (Channel &channel : channels_) channel.whole = channel.started = channel.finished = 0;
}

std::vector<comm::Part> Exchange::parts(const Channel &channel, std::size_t bucket) const {
  const Gradients &gradients = gradients_[channel.chunk];
  std::vector<comm::Part> list;
  for_gradients(
      layout_, gradients.buckets(), bucket, channel.experts, [&](const Slot &slot, Index use) {
        list.push_back({gradients.total(slot, use).data(), ownership_.cut(channel.chunk, slot)});
      });
  return list;
}

void Exchange::bucket_is_whole(tensor::Context &ctx, std::size_t chunk, std::size_t bucket) {
  for (Channel &channel : channels_) {
    if (channel.chunk != chunk || !std::ranges::count(channel.buckets, bucket)) continue;
    HADAL_CHECK(channel.whole < channel.buckets.size() && channel.buckets[channel.whole] == bucket,
                "bucket {} is whole as number {} of {}", bucket, channel.whole,
                channel.buckets.size());
    ++channel.whole;
    advance(ctx, channel);
  }
}

// Adds what has come, and starts what there is room for.
void Exchange::advance(tensor::Context &ctx, Channel &channel) {
  for (; channel.finished < channel.started && channel.oldest().progress(); ++channel.finished)
    channel.oldest().finish(ctx);
  for (; channel.started < channel.whole && channel.started < channel.finished + 2;
       ++channel.started) {
    const std::size_t i = channel.started;
    const Index size = channel.sizes[i];
    float *side = channel.scratch.data() + (i % 2 == 0 ? 0 : channel.elements() - size);
    channel.sums[i % 2].start(ctx, *channel.comm, parts(channel, channel.buckets[i]),
                              Vec<float>(side, size), {"gradient sum"});
  }
}

bool Exchange::progress() {
  bool under_way = false;
  for (Channel &channel : channels_)
    for (std::size_t i = channel.finished; i < channel.started; ++i)
      under_way = !channel.sums[i % 2].progress() || under_way;
  return under_way;
}

// Channel by channel, on all ranks in the same order.
void Exchange::finish(tensor::Context &ctx) {
  for (Channel &channel : channels_) {
    HADAL_CHECK(channel.whole == channel.buckets.size(), "{} of {} buckets are whole",
                channel.whole, channel.buckets.size());
    for (advance(ctx, channel); channel.finished < channel.started; advance(ctx, channel)) {
      channel.oldest().finish(ctx);
      ++channel.finished;
    }
  }
  tensor::fence(ctx, "train::exchange::uses"); // reason: pieces may leave this rank
  add_uses(ctx);
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
          const comm::Cut &cut = ownership_.cut(c, slot);
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
          const Vec<float> part(uses_.data(), total.size());
          HADAL_CHECK(total.size() <= uses_.size(), "scratch of {} for {}", uses_.size(),
                      total.size());
          ranks_.mesh().pp->recv(ranks_.rank_of(ranks_.stages() - 1, direction), tag, part.data(),
                                 part.size() * sizeof(float), what);
          numerics::add(ctx, "train::exchange::uses", Vec<const float>(part), total);
        }
      }
    }
  }
}

void Exchange::spread(tensor::Context &ctx, const std::function<Whole(const Slot &)> &of) {
  tensor::fence(ctx, "train::exchange::spread"); // reason: weights leave this rank
  const auto &dims = layout_.dims();
  for (const std::size_t c : by_stage(ranks_))
    for (const bool experts : {false, true}) {
      const Chunk &chunk = ranks_.chunks()[c];
      comm::Communicator &comm = replicas_of(chunk, experts);
      if (comm.size() == 1) continue;
      std::vector<comm::Pieces> pieces;
      for (const Slot &slot : layout_.slots())
        if (of_experts(slot) == experts && slot.spec.trained() && owns(chunk, dims, slot))
          pieces.push_back({of(slot).data, of(slot).element, ownership_.cut(c, slot)});
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

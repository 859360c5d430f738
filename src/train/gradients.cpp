// SPDX-License-Identifier: Apache-2.0
#include "train/gradients.hpp"

#include <algorithm>
#include <bit>

#include "numerics/elementwise.hpp"
#include "train/fold.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

namespace {

std::size_t buffers_for(std::int64_t shards) {
  return static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(shards)));
}

} // namespace

ShardSum::ShardSum(Index size, std::int64_t shards) : size_(size), shards_(shards) {
  for (std::size_t i = 0; i < buffers_for(shards); ++i)
    buffers_.emplace_back("train::gradients", size); // all zeros
  clear_.assign(buffers_.size(), true);
  begin_step();
}

std::size_t ShardSum::bytes(Index size, std::int64_t shards) {
  return buffers_for(shards) * static_cast<std::size_t>(size) * sizeof(float);
}

void ShardSum::begin_step() {
  free_.clear(), stack_.clear();
  for (std::size_t i = buffers_.size(); i-- > 0;) free_.push_back(i);
  open_ = false, closed_ = 0;
}

Vec<float> ShardSum::open(tensor::Context &ctx) {
  if (!open_) {
    HADAL_CHECK(!free_.empty(), "no free buffer of {}; {} partial sums", buffers_.size(),
                stack_.size());
    const std::size_t buffer = free_.back();
    stack_.push_back({buffer, 0});
    free_.pop_back();
    if (!clear_[buffer]) {
      ctx.count("train::gradients::clear", 0, 4.0 * static_cast<double>(size_));
      numerics::fill(ctx, "train::gradients::clear", buffers_[buffer], 0.0F);
    }
    clear_[buffer] = false, open_ = true;
  }
  return buffers_[stack_.back().buffer];
}

void ShardSum::close(tensor::Context &ctx) {
  HADAL_CHECK(open_, "no shard is open");
  open_ = false;
  ++closed_;
  std::vector<Vec<float>> later;
  while (stack_.size() > 1 && stack_[stack_.size() - 2].level == stack_.back().level) {
    const std::size_t buffer = stack_.back().buffer;
    stack_.pop_back();
    later.push_back(buffers_[buffer]);
    free_.push_back(buffer);
    clear_[buffer] = true; // by the fold
    ++stack_.back().level;
  }
  if (!later.empty()) fold_shards(ctx, later, buffers_[stack_.back().buffer]);
}

Vec<float> ShardSum::total() const {
  HADAL_CHECK(stack_.size() == 1 && !open_, "{} partial sums at the end of the step",
              stack_.size());
  return buffers_[stack_[0].buffer];
}

namespace {

// Does the stage make this use's gradient? The embedding's k-th and the head's belong to the last stage.
bool makes(const model::Part &part, const std::string &name, Index use) {
  if (name == "head") return part.head;
  if (name == "embedding") return use == 0 ? part.embedding : part.head;
  return use == 0;
}

} // namespace

// Layers from the last to the first, MTP modules before them: the order in which the backward pass is done with them.
Buckets::Buckets(const model::Layout &layout, const model::Part &part) : layout_(layout) {
  const auto &dims = layout.dims();
  for (Index k = dims.mtp_depth; part.head && k-- > 0;) layers_.push_back(dims.layers + k);
  for (Index layer = part.last; layer-- > part.first;) layers_.push_back(layer);
  sizes_.resize(layers_.size() + 2);
  for (const auto &slot : layout.slots()) {
    auto &uses = places_.emplace_back(static_cast<std::size_t>(layout.uses()));
    if (!part.holds(dims, slot.spec)) continue;
    const bool table = slot.spec.name == "head" || slot.spec.name == "embedding";
    for (Index use = 0; use < (table ? layout.uses() : 1); ++use) {
      if (!makes(part, slot.spec.name, use)) continue;
      Place place;
      place.here = true, place.experts = slot.spec.sharding == arch::Sharding::experts;
      place.bucket = slot.spec.layer >= 0       ? of_layer(slot.spec.layer)
                     : slot.spec.name == "head" ? head()
                                                : rest();
      Index &size = place.experts ? sizes_[place.bucket].experts : sizes_[place.bucket].dense;
      place.offset = size;
      size += model::aligned(slot.size);
      uses[static_cast<std::size_t>(use)] = place;
    }
  }
}

std::size_t Buckets::of_layer(Index layer) const {
  const auto at = std::find(layers_.begin(), layers_.end(), layer);
  HADAL_CHECK(at != layers_.end(), "layer {} is of another stage", layer);
  return static_cast<std::size_t>(at - layers_.begin()) + 1;
}

const Buckets::Place &Buckets::place(const model::Slot &slot, Index use) const {
  const auto index = static_cast<std::size_t>(&slot - layout_.slots().data());
  return places_[index][static_cast<std::size_t>(use)];
}

std::size_t Buckets::bytes(std::int64_t shards) const {
  std::size_t sum = 0;
  for (const Size &size : sizes_)
    sum += ShardSum::bytes(size.dense, shards) +
           static_cast<std::size_t>(layout_.share().ep) * ShardSum::bytes(size.experts, shards);
  return sum;
}

Gradients::Gradients(const model::Layout &layout, const model::Part &part, std::int64_t shards)
    : layout_(layout), buckets_(layout, part) {
  for (std::size_t b = 0; b < buckets_.count(); ++b) {
    Sums &sums = sums_.emplace_back(Sums{ShardSum(buckets_.size(b).dense, shards), {}});
    if (buckets_.size(b).experts == 0) continue;
    for (Index source = 0; source < layout.share().ep; ++source)
      sums.experts.emplace_back(buckets_.size(b).experts, shards);
  }
}

void Gradients::begin_step() {
  for (Sums &sums : sums_) {
    sums.dense.begin_step();
    for (ShardSum &source : sums.experts) source.begin_step();
  }
}

void Gradients::compose() {
  tensor::Arena none = tensor::Arena::counting("train::gradients");
  tensor::Context ctx{tensor::Exec(), none};
  views_ = model::grads(layout_, [&](const model::Slot &slot, Index use, Index source) -> float * {
    const Buckets::Place &place = buckets_.place(slot, use);
    if (!place.here) return nullptr;
    Sums &sums = sums_[place.bucket];
    ShardSum &sum = place.experts ? sums.experts[static_cast<std::size_t>(source)] : sums.dense;
    return sum.is_open() ? sum.open(ctx).data() + place.offset : nullptr;
  });
}

const model::Grads &Gradients::for_forward(tensor::Context &ctx) {
  if (ShardSum &head = sums_[Buckets::head()].dense; !head.is_open()) {
    head.open(ctx);
    compose();
  }
  return views_;
}

const model::Grads &Gradients::for_backward(tensor::Context &ctx) {
  if (sums_[buckets_.rest()].dense.is_open()) return views_;
  for (std::size_t b = Buckets::head() + 1; b < sums_.size(); ++b) {
    sums_[b].dense.open(ctx);
    for (ShardSum &source : sums_[b].experts) source.open(ctx);
  }
  compose();
  return views_;
}

// Sources are consecutive data-parallel ranks, each with a whole subtree of shards.
void Gradients::close(tensor::Context &ctx, std::size_t bucket) {
  Sums &sums = sums_[bucket];
  sums.dense.close(ctx);
  for (ShardSum &source : sums.experts) source.close(ctx);
  if (!sums.dense.whole()) return;
  auto &sources = sums.experts;
  for (std::size_t width = 1; width < sources.size(); width *= 2)
    for (std::size_t s = 0; s + width < sources.size(); s += 2 * width)
      numerics::add(ctx, "train::gradients::sources", Vec<const float>(sources[s + width].total()),
                    sources[s].total());
  if (when_whole_) when_whole_(ctx, bucket);
}

void Gradients::close_forward(tensor::Context &ctx) { close(ctx, Buckets::head()); }

void Gradients::close_layer(tensor::Context &ctx, Index layer) {
  close(ctx, buckets_.of_layer(layer));
}

void Gradients::close_backward(tensor::Context &ctx) {
  for (std::size_t b = Buckets::head() + 1; b < sums_.size(); ++b)
    if (sums_[b].dense.is_open()) close(ctx, b);
}

Vec<float> Gradients::total(const model::Slot &slot, Index use) const {
  const Buckets::Place &place = buckets_.place(slot, use);
  if (!place.here) return {};
  const Sums &sums = sums_[place.bucket];
  const ShardSum &sum = place.experts ? sums.experts[0] : sums.dense;
  return Vec<float>(sum.total().data() + place.offset, slot.size);
}

} // namespace train

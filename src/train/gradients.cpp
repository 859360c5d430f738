// SPDX-License-Identifier: Apache-2.0
#include "train/gradients.hpp"

#include <bit>

#include "numerics/elementwise.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

ShardSum::ShardSum(Index size, std::int64_t shards) : size_(size) {
  const int count = std::bit_width(static_cast<std::uint64_t>(shards));
  for (int i = 0; i < count; ++i) buffers_.emplace_back("train::gradients", size);
  begin_step();
}

std::size_t ShardSum::bytes() const {
  return buffers_.size() * static_cast<std::size_t>(size_) * sizeof(float);
}

void ShardSum::begin_step() {
  free_.clear(), stack_.clear();
  for (std::size_t i = buffers_.size(); i-- > 0;) free_.push_back(i);
  open_ = false;
}

Vec<float> ShardSum::open(tensor::Context &ctx) {
  if (!open_) {
    HADAL_CHECK(!free_.empty(), "no free buffer of {}; {} partial sums", buffers_.size(),
                stack_.size());
    stack_.push_back({free_.back(), 0});
    free_.pop_back();
    ctx.count("train::gradients::clear", 0, 4.0 * static_cast<double>(size_));
    numerics::fill(ctx, "train::gradients::clear", buffers_[stack_.back().buffer], 0.0F);
    open_ = true;
  }
  return buffers_[stack_.back().buffer];
}

void ShardSum::close(tensor::Context &ctx) {
  HADAL_CHECK(open_, "no shard is open");
  open_ = false;
  while (stack_.size() > 1 && stack_[stack_.size() - 2].level == stack_.back().level) {
    const Partial later = stack_.back();
    stack_.pop_back();
    ctx.count("train::gradients::fold", 0, 12.0 * static_cast<double>(size_));
    numerics::add(ctx, "train::gradients::fold", Vec<const float>(buffers_[later.buffer]),
                  buffers_[stack_.back().buffer]);
    free_.push_back(later.buffer);
    ++stack_.back().level;
  }
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

Gradients::Gradients(const model::Layout &layout, const model::Part &part, std::int64_t shards)
    : layout_(layout), part_(part) {
  Index head = 0, dense = 0, experts = 0;
  const auto take = [](Index &size, Index count) {
    const Index at = size;
    size += (count + 63) / 64 * 64;
    return at;
  };
  for (const auto &slot : layout.slots()) {
    auto &uses = places_.emplace_back(static_cast<std::size_t>(layout.uses()));
    if (!part.holds(layout.dims(), slot.spec)) continue;
    const bool table = slot.spec.name == "head" || slot.spec.name == "embedding";
    for (Index use = 0; use < (table ? layout.uses() : 1); ++use) {
      if (!makes(part, slot.spec.name, use)) continue;
      Place &place = uses[static_cast<std::size_t>(use)];
      if (slot.spec.name == "head")
        place = {Group::head, take(head, slot.size)};
      else if (slot.spec.sharding == arch::Sharding::experts)
        place = {Group::experts, take(experts, slot.size)};
      else
        place = {Group::dense, take(dense, slot.size)};
    }
  }
  head_.emplace_back(head, shards);
  dense_.emplace_back(dense, shards);
  for (Index source = 0; source < layout.share().ep; ++source)
    experts_.emplace_back(experts, shards);
}

std::size_t Gradients::bytes() const {
  std::size_t sum = head_[0].bytes() + dense_[0].bytes();
  for (const ShardSum &source : experts_) sum += source.bytes();
  return sum;
}

void Gradients::begin_step() {
  head_[0].begin_step(), dense_[0].begin_step();
  for (ShardSum &source : experts_) source.begin_step();
}

Gradients::Place Gradients::place_of(const model::Slot &slot, Index use) const {
  const auto index = static_cast<std::size_t>(&slot - layout_.slots().data());
  return places_[index][static_cast<std::size_t>(use)];
}

void Gradients::compose() {
  tensor::Arena none = tensor::Arena::counting("train::gradients");
  tensor::Context ctx{tensor::Exec(), none};
  const auto start = [&ctx](ShardSum &sum) {
    return sum.is_open() ? sum.open(ctx).data() : nullptr;
  };
  float *const head = start(head_[0]), *const dense = start(dense_[0]);
  std::vector<float *> experts;
  for (ShardSum &source : experts_) experts.push_back(start(source));
  views_ = model::grads(layout_, [&](const model::Slot &slot, Index use, Index source) -> float * {
    const Place place = place_of(slot, use);
    float *from = nullptr;
    if (place.group == Group::head) from = head;
    if (place.group == Group::dense) from = dense;
    if (place.group == Group::experts) from = experts[static_cast<std::size_t>(source)];
    return from ? from + place.offset : nullptr;
  });
}

const model::Grads &Gradients::for_forward(tensor::Context &ctx) {
  if (!head_[0].is_open()) {
    head_[0].open(ctx);
    compose();
  }
  return views_;
}

const model::Grads &Gradients::for_backward(tensor::Context &ctx) {
  if (!dense_[0].is_open()) {
    dense_[0].open(ctx);
    for (ShardSum &source : experts_) source.open(ctx);
    compose();
  }
  return views_;
}

void Gradients::close_forward(tensor::Context &ctx) { head_[0].close(ctx); }

void Gradients::close_backward(tensor::Context &ctx) {
  dense_[0].close(ctx);
  for (ShardSum &source : experts_) source.close(ctx);
}

// Sources are consecutive data-parallel ranks, each with a whole subtree of shards.
void Gradients::finish(tensor::Context &ctx) {
  for (std::size_t width = 1; width < experts_.size(); width *= 2)
    for (std::size_t s = 0; s + width < experts_.size(); s += 2 * width)
      numerics::add(ctx, "train::gradients::sources", Vec<const float>(experts_[s + width].total()),
                    experts_[s].total());
}

Vec<float> Gradients::total(const model::Slot &slot, Index use) const {
  const Place place = place_of(slot, use);
  if (place.group == Group::none) return {};
  const ShardSum &sum = place.group == Group::head    ? head_[0]
                        : place.group == Group::dense ? dense_[0]
                                                      : experts_[0];
  return Vec<float>(sum.total().data() + place.offset, slot.size);
}

} // namespace train

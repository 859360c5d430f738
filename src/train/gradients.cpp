// SPDX-License-Identifier: Apache-2.0
#include "train/gradients.hpp"

#include <bit>

#include "numerics/elementwise.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

Gradients::Gradients(const model::Layout &layout, std::int64_t shards) : layout_(layout) {
  const int count = std::bit_width(static_cast<std::uint64_t>(shards));
  for (int i = 0; i < count; ++i) {
    const Vec<float> values("train::gradients", layout.gradient_size());
    buffers_.push_back({values, model::grads(layout, values)});
  }
}

std::size_t Gradients::bytes() const {
  return buffers_.size() * static_cast<std::size_t>(layout_.gradient_size()) * sizeof(float);
}

void Gradients::begin_step() {
  free_.clear(), stack_.clear();
  for (std::size_t i = buffers_.size(); i-- > 0;) free_.push_back(i);
  open_ = false;
}

const model::Grads &Gradients::open_shard(tensor::Context &ctx) {
  if (!open_) {
    HADAL_CHECK(!free_.empty(), "no free buffer of {}; {} partial sums", buffers_.size(),
                stack_.size());
    stack_.push_back({free_.back(), 0});
    free_.pop_back();
    ctx.count("train::gradients::clear", 0, 4.0 * static_cast<double>(layout_.gradient_size()));
    numerics::fill(ctx, "train::gradients::clear", buffers_[stack_.back().buffer].values, 0.0F);
    open_ = true;
  }
  return buffers_[stack_.back().buffer].views;
}

void Gradients::close_shard(tensor::Context &ctx) {
  open_ = false;
  while (stack_.size() > 1 && stack_[stack_.size() - 2].level == stack_.back().level) {
    const Partial later = stack_.back();
    stack_.pop_back();
    ctx.count("train::gradients::fold", 0, 12.0 * static_cast<double>(layout_.gradient_size()));
    numerics::add(ctx, "train::gradients::fold", Vec<const float>(buffers_[later.buffer].values),
                  buffers_[stack_.back().buffer].values);
    free_.push_back(later.buffer);
    ++stack_.back().level;
  }
}

Vec<float> Gradients::finish(tensor::Context &ctx) {
  HADAL_CHECK(stack_.size() == 1 && !open_, "{} partial sums at the end of the step",
              stack_.size());
  const Vec<float> total = buffers_[stack_[0].buffer].values;
  for (const char *name : {"embedding", "head"}) {
    const Index size = layout_.at(name).size;
    for (Index use = 1; use < layout_.uses(); ++use)
      numerics::add(ctx, "train::gradients::uses",
                    Vec<const float>(total.data() + layout_.use_offset(name, use), size),
                    Vec<float>(total.data() + layout_.at(name).offset, size));
  }
  return total;
}

} // namespace train

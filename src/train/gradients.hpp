// SPDX-License-Identifier: Apache-2.0
#pragma once
// Gradient accumulators of a stage by the law of sums: micro-batches are added in order within a shard, shards in a balanced binary
// tree. With S shards log2(S) + 1 buffers are enough (as in pairwise summation); with one shard there is one buffer.
//
// Three kinds of tensors have shards open at different times, each its own buffers:
//   head     its gradient is made in the forward pass
//   dense    everything else that all ranks of an expert group compute apart
//   experts  one set for each source rank of the expert group: sources lie in different shards
#include <vector>

#include "model/parameters.hpp"

namespace train {

// The partial sums of one flat array.
class ShardSum {
public:
  ShardSum(tensor::Index size, std::int64_t shards);
  void begin_step();
  // The accumulator of the shard now open; opens one (all zeros) when none is.
  tensor::Vec<float> open(tensor::Context &ctx);
  // Closes it: folds equal levels of the tree.
  void close(tensor::Context &ctx);
  bool is_open() const { return open_; }
  // The sum of all shards. A Fault when the tree is not whole.
  tensor::Vec<float> total() const;
  std::size_t bytes() const;

private:
  struct Partial {
    std::size_t buffer;
    int level;
  };
  tensor::Index size_;
  std::vector<tensor::Vec<float>> buffers_;
  std::vector<std::size_t> free_;
  std::vector<Partial> stack_; // closed shards, levels falling
  bool open_ = false;
};

class Gradients {
public:
  // shards: of this rank. part: which of the layout's stages.
  Gradients(const model::Layout &layout, const model::Part &part, std::int64_t shards);
  Gradients(const model::Layout &layout, std::int64_t shards)
      : Gradients(layout, layout.share().parts.at(0), shards) {}

  void begin_step();
  // Accumulators for F (head) and for B and W (all others) of a micro-batch.
  const model::Grads &for_forward(tensor::Context &ctx);
  const model::Grads &for_backward(tensor::Context &ctx);
  // The last micro-batch of a shard has gone through F, through W.
  void close_forward(tensor::Context &ctx);
  void close_backward(tensor::Context &ctx);
  // After the last shard: adds the sources of the experts (in a tree).
  void finish(tensor::Context &ctx);
  // The sum of a tensor's use; empty where this stage has none. Valid from finish() to the next step.
  tensor::Vec<float> total(const model::Slot &slot, tensor::Index use = 0) const;
  std::size_t bytes() const;

private:
  enum class Group { none, head, dense, experts };
  struct Place {
    Group group = Group::none;
    tensor::Index offset = 0;
  };
  Place place_of(const model::Slot &slot, tensor::Index use) const;
  void compose();

  const model::Layout &layout_;
  model::Part part_;
  std::vector<std::vector<Place>> places_; // by slot and use
  std::vector<ShardSum> head_, dense_;     // one each
  std::vector<ShardSum> experts_;          // by source
  model::Grads views_;
};

} // namespace train

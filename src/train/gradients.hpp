// SPDX-License-Identifier: Apache-2.0
#pragma once
// Gradient accumulators of a stage by the law of sums: micro-batches are added in order within a shard, shards in a balanced binary
// tree. With S shards log2(S) + 1 buffers are enough (as in pairwise summation); with one shard there is one buffer.
//
// A bucket is a set of tensors whose sums become whole at the same time, so that they can travel while earlier layers are at work:
//   the head, whose gradient is made in the forward pass;  a layer each, from the last to the first;  the rest (embedding, final norm)
// Of a bucket the experts are apart: they have one set of buffers for each source rank of the expert group, since sources lie in
// different shards.
#include <functional>
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
  bool whole() const { return closed_ == shards_; }
  // The sum of all shards. A Fault when the tree is not whole.
  tensor::Vec<float> total() const;
  static std::size_t bytes(tensor::Index size, std::int64_t shards);

private:
  struct Partial {
    std::size_t buffer;
    int level;
  };
  tensor::Index size_;
  std::int64_t shards_, closed_ = 0;
  std::vector<tensor::Vec<float>> buffers_;
  std::vector<std::size_t> free_;
  std::vector<bool> clear_;    // buffers that hold zeros
  std::vector<Partial> stack_; // closed shards, levels falling
  bool open_ = false;
};

// Which tensors a bucket has and where they lie in it.
class Buckets {
public:
  Buckets(const model::Layout &layout, const model::Part &part);
  struct Place {
    std::size_t bucket = 0;
    bool experts = false, here = false; // here: this stage makes this use's gradient
    tensor::Index offset = 0;
  };
  struct Size {
    tensor::Index dense = 0, experts = 0; // elements; experts: of each source
  };
  std::size_t count() const { return sizes_.size(); }
  const Size &size(std::size_t bucket) const { return sizes_[bucket]; }
  const Place &place(const model::Slot &slot, tensor::Index use) const;
  static constexpr std::size_t head() { return 0; }
  std::size_t rest() const { return sizes_.size() - 1; }
  std::size_t of_layer(tensor::Index layer) const; // a Fault when it is not of this stage
  // Bytes of all accumulators.
  std::size_t bytes(std::int64_t shards) const;

private:
  const model::Layout &layout_;
  std::vector<tensor::Index> layers_; // of the buckets behind the head
  std::vector<Size> sizes_;
  std::vector<std::vector<Place>> places_; // by slot and use
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
  // The last micro-batch of a shard has gone through F; its gradients of a layer stand; it has gone through W (which closes every layer
  // that is still open).
  void close_forward(tensor::Context &ctx);
  void close_layer(tensor::Context &ctx, tensor::Index layer);
  void close_backward(tensor::Context &ctx);
  // Called with each bucket that has become whole, always in the same order: head, layers from the last to the first, the rest.
  void when_whole(std::function<void(tensor::Context &ctx, std::size_t bucket)> call) {
    when_whole_ = std::move(call);
  }
  // The sum of a tensor's use; empty where this stage has none. Valid once its bucket is whole until the next step.
  tensor::Vec<float> total(const model::Slot &slot, tensor::Index use = 0) const;
  const Buckets &buckets() const { return buckets_; }

private:
  struct Sums {
    ShardSum dense;
    std::vector<ShardSum> experts; // by source; none where the bucket has no experts
  };
  void close(tensor::Context &ctx, std::size_t bucket);
  void compose();

  const model::Layout &layout_;
  Buckets buckets_;
  std::vector<Sums> sums_; // by bucket
  model::Grads views_;
  std::function<void(tensor::Context &, std::size_t)> when_whole_;
};

} // namespace train

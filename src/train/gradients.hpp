// SPDX-License-Identifier: Apache-2.0
#pragma once
// Gradient accumulators by the law of sums: micro-batches are added in order within a shard, shards in a balanced binary tree. With S
// shards log2(S) + 1 buffers are enough (as in pairwise summation); with one shard there is one buffer.
#include <vector>

#include "model/parameters.hpp"

namespace train {

class Gradients {
public:
  Gradients(const model::Layout &layout, std::int64_t shards);

  void begin_step();
  // The accumulator of the shard now open; opens one (all zeros) when none is.
  const model::Grads &open_shard(tensor::Context &ctx);
  // Closes it: folds equal levels of the tree.
  void close_shard(tensor::Context &ctx);
  // After the last shard: adds the uses of embedding and head (main first, then depths) and returns the whole gradient.
  tensor::Vec<float> finish(tensor::Context &ctx);
  std::size_t bytes() const;

private:
  struct Buffer {
    tensor::Vec<float> values;
    model::Grads views;
  };
  struct Partial {
    std::size_t buffer;
    int level;
  };
  const model::Layout &layout_;
  std::vector<Buffer> buffers_;
  std::vector<std::size_t> free_;
  std::vector<Partial> stack_; // closed shards, levels falling
  bool open_ = false;
};

} // namespace train

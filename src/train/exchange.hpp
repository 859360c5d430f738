// SPDX-License-Identifier: Apache-2.0
#pragma once
// Gradients to the owners of their pieces, and new values of the pieces to all. A bucket of gradients starts on its way when it is whole,
// while the backward pass is at work on earlier layers.
//
// Each stage has two channels on a rank, one over its replicas (all but the experts) and one over its expert replicas. On a channel all
// ranks start the buckets in the same order. Two are on their way at most: with two of them the next one waits until the older one has
// come, and starts with the bucket behind it or at the end. Starting never waits, so no order of the stages can get stuck.
#include <functional>
#include <vector>

#include "comm/reduce.hpp"
#include "train/gradients.hpp"
#include "train/owned.hpp"

namespace train {

// A whole tensor of this rank as layers read it: what weights are handed out as.
struct Whole {
  void *data = nullptr;
  std::size_t element = 0; // bytes
};

class Exchange {
public:
  // Hears from the gradients when a bucket is whole.
  Exchange(const Ranks &ranks, const model::Layout &layout, const Ownership &ownership,
           std::vector<Gradients> &gradients);
  Exchange(const Exchange &) = delete;
  Exchange &operator=(const Exchange &) = delete;

  void begin_step();
  // Lets messages go on; false when all that were started have come. Launches nothing: it may be called from anywhere while computing.
  bool progress();
  // After the last bucket. Sums over all replicas, of the owned pieces; then the further uses of embedding and head are added to the first.
  void finish(tensor::Context &ctx);
  // The summed gradient of an owned piece.
  tensor::Vec<float> gradient(const Owned &piece) const;
  // The owned pieces of all trained tensors to all replicas, and to copies of the embedding.
  void spread(tensor::Context &ctx, const std::function<Whole(const model::Slot &)> &of);

  // Of the scratch that a rank with these stages takes. buckets: by chunk.
  static std::size_t bytes(const Ranks &ranks, const model::Layout &layout,
                           const Ownership &ownership, const std::vector<Buckets> &buckets);

private:
  struct Channel {
    std::size_t chunk = 0;
    bool experts = false;
    comm::Communicator *comm = nullptr;
    std::vector<std::size_t> buckets; // those that have something for this channel, in order
    std::vector<tensor::Index> sizes; // elements of scratch of each
    tensor::Vec<float>
        scratch; // from its start for the 1st, 3rd, ... bucket, at its end for the others
    comm::ReduceScatter sums[2];
    std::size_t whole = 0, started = 0, finished = 0; // counts of `buckets`
    tensor::Index elements() const;
    comm::ReduceScatter &oldest() { return sums[finished % 2]; }
  };
  static std::vector<Channel> channels(const Ranks &ranks, const model::Layout &layout,
                                       const Ownership &ownership,
                                       const std::function<const Buckets &(std::size_t)> &buckets);
  static tensor::Index uses_elements(const Ranks &ranks, const model::Layout &layout,
                                     const Ownership &ownership);
  std::vector<comm::Part> parts(const Channel &channel, std::size_t bucket) const;
  void bucket_is_whole(tensor::Context &ctx, std::size_t chunk, std::size_t bucket);
  void advance(tensor::Context &ctx, Channel &channel);
  void add_uses(tensor::Context &ctx);
  std::size_t chunk_of(const model::Slot &slot) const;

  const Ranks &ranks_;
  const model::Layout &layout_;
  const Ownership &ownership_;
  std::vector<Gradients> &gradients_; // by chunk
  std::vector<Channel> channels_;     // stages in order
  tensor::Vec<float> uses_;           // the embedding's further uses come from the last stage
};

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sums of FP32 arrays over the ranks of an axis, in one order whatever the library, the layout of the pieces or the number
// of threads: every element is the balanced binary tree over the ranks, level by level,
//   (1)  s[r] = x[r];   s[r] = s[r] + s[r + w]  for r = 0, 2w, 4w, ... with r + w < n,   w = 1, 2, 4, ...
// lower + higher. With n a power of two and each x[r] the same tree over the rank's own shards, s[0] is the tree over all
// shards (docs/communication.md).
//
// A piece of each array belongs to each rank (Cut). Its owner receives the others' values of it and adds them: every rank
// sends and receives (n - 1) / n of the array once, and the scratch holds n - 1 times the piece that the rank owns.
#include <span>
#include <vector>

#include "comm/communicator.hpp"
#include "tensor/context.hpp"

namespace comm {

using tensor::Index;

inline constexpr Index kCutBlock =
    4096; // elements; pieces begin at multiples of it (the norm's blocks stay whole)

// Rank r owns the elements begin[r] .. begin[r + 1].
struct Cut {
  std::vector<Index> begin;
  Index size(int rank) const {
    const auto r = static_cast<std::size_t>(rank);
    return begin[r + 1] - begin[r];
  }
  Index elements() const { return begin.back(); }
};

// Whole blocks shared as evenly as they can be; the block count's remainder goes to the ranks from `first` on, so that
// many small tensors need not all lie on rank 0.
Cut cut_evenly(Index elements, int ranks, int first = 0, Index block = kCutBlock);

// One array of a sum and its cut. `data` is memory of the context's space.
struct Part {
  float *data = nullptr;
  Cut cut;
};

// The piece of each part that belongs to this rank becomes the sum over all ranks; the rest stays as it was.
class ReduceScatter {
public:
  static Index scratch_elements(std::span<const Part> parts, int rank, int ranks);

  // Posts all messages. The parts' data must not change, nor the scratch go, until finish() has returned.
  void start(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
             tensor::Vec<float> scratch, What what);
  // Progresses; true when all messages are through. To be called now and then while computing.
  bool progress();
  // Waits for what is under way, then adds.
  void finish(tensor::Context &ctx);
  bool active() const { return comm_ != nullptr; }

private:
  Communicator *comm_ = nullptr;
  std::vector<Part> parts_;
  tensor::Vec<float> scratch_;
  std::vector<Request> requests_;
};

// One array whose pieces are gathered from their owners: `element` bytes each, so that weights of any type can go.
struct Pieces {
  void *data = nullptr;
  std::size_t element = sizeof(float);
  Cut cut;
};

class AllGather {
public:
  void start(tensor::Context &ctx, Communicator &comm, std::span<const Pieces> pieces, What what);
  bool progress();
  void finish();

private:
  std::vector<Request> requests_;
};

// Both at once. Every rank ends with the same bits.
void reduce_scatter(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
                    tensor::Vec<float> scratch, What what);
void all_gather(tensor::Context &ctx, Communicator &comm, std::span<const Pieces> pieces, What);
void all_reduce(tensor::Context &ctx, Communicator &comm, std::vector<Part> parts,
                tensor::Vec<float> scratch, What what);

} // namespace comm

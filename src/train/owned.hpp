// SPDX-License-Identifier: Apache-2.0
#pragma once
// Who updates what (ZeRO-1): of every tensor each replica owns a piece. It receives the sum of all gradients of that piece, holds its
// moments, moves it and hands the new values to the others. Pieces begin at multiples of a block that suits the norm, the hash of a
// state and the file.
#include <functional>
#include <vector>

#include "comm/reduce.hpp"
#include "train/gradients.hpp"
#include "train/ranks.hpp"

namespace train {

// Elements: 1 MiB of the smallest number that a checkpoint holds.
inline constexpr tensor::Index kOwnBlock = tensor::Index{1} << 19;

struct Owned {
  const model::Slot *slot = nullptr;
  tensor::Index begin = 0, end = 0; // elements of this rank's tensor
  tensor::Index at = 0;             // where the piece's moments lie
  tensor::Index master = 0;         // where its FP32 values lie
  tensor::Index size() const { return end - begin; }
};

// Which pieces of which tensors are this rank's, in the order of the layout. cut: layers read matrices from compute copies, so that of
// their FP32 values only the owned pieces are here; else the FP32 values are what layers read, and are whole.
class Ownership {
public:
  Ownership(const Ranks &ranks, const model::Layout &layout, bool cut);
  const std::vector<Owned> &pieces() const { return pieces_; }
  tensor::Index moments() const { return moments_; } // elements of a moment's buffer
  tensor::Index masters() const { return masters_; } // elements of the FP32 values' buffer
  // How a tensor of a chunk is cut among its replicas.
  comm::Cut cut(const Chunk &chunk, const model::Slot &slot) const;

private:
  std::vector<Owned> pieces_;
  tensor::Index moments_ = 0, masters_ = 0;
};

// A whole tensor of this rank as layers read it: what weights are handed out as.
struct Whole {
  void *data = nullptr;
  std::size_t element = 0; // bytes
};

// The exchange of gradients and weights at the end of a step.
class Exchange {
public:
  Exchange(const Ranks &ranks, const model::Layout &layout, const Ownership &ownership,
           std::vector<Gradients> &gradients);
  // Sums over all replicas, of the owned pieces; then the further uses of embedding and head are added to the first.
  void reduce(tensor::Context &ctx);
  // The summed gradient of an owned piece.
  tensor::Vec<float> gradient(const Owned &piece) const;
  // The owned pieces of all trained tensors to all replicas, and to copies of the embedding.
  void spread(tensor::Context &ctx, const std::function<Whole(const model::Slot &)> &of);
  std::size_t bytes() const { return scratch_.size() * sizeof(float); }

private:
  std::vector<comm::Part> parts(std::size_t chunk, bool experts) const;
  std::vector<std::size_t> by_stage() const;
  void add_uses(tensor::Context &ctx);
  std::size_t chunk_of(const model::Slot &slot) const;

  const Ranks &ranks_;
  const model::Layout &layout_;
  const Ownership &ownership_;
  std::vector<Gradients> &gradients_; // by chunk
  tensor::Vec<float> scratch_;
};

} // namespace train

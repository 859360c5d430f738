// SPDX-License-Identifier: Apache-2.0
#pragma once
// Who updates what (ZeRO-1): of every tensor each replica owns a piece. It receives the sum of all gradients of that piece, holds its
// moments, moves it and hands the new values to the others. Pieces begin at multiples of a block that suits the norm, the hash of a
// state and the file.
#include <array>
#include <vector>

#include "comm/reduce.hpp"
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
  const comm::Cut &cut(std::size_t chunk, const model::Slot &slot) const;

private:
  const model::Layout &layout_;
  std::vector<std::array<std::vector<comm::Cut>, 2>> cuts_; // by chunk, kind and slot
  std::vector<Owned> pieces_;
  tensor::Index moments_ = 0, masters_ = 0;
};

bool of_experts(const model::Slot &slot);
comm::Communicator &replicas_of(const Chunk &chunk, bool experts);
// Is the chunk the tensor's own stage? A copy of the embedding belongs to another.
bool owns(const Chunk &chunk, const arch::Dims &dims, const model::Slot &slot);

} // namespace train

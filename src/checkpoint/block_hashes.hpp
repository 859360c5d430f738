// SPDX-License-Identifier: Apache-2.0
#pragma once
// The state hash of a state that no rank holds whole: each rank lists the hashes of its blocks, the lists are brought together (by a
// file or by MPI) and folded in the order of the global tensors. The result is state_hash() of the whole.
#include <string>
#include <utility>
#include <vector>

#include "base/hash.hpp"
#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

// Cuts at multiples of so many elements fall between two blocks, for every type: such lists hold 16 bytes a block. Of a block that is
// cut elsewhere the bytes themselves are in the lists: right as well, but up to 1 MiB a cut.
inline constexpr std::int64_t kCutElements = std::int64_t{1} << 19;

class BlockHashes {
public:
  // Bytes [first, first + bytes) of a tensor of tensor_bytes. What is given in several calls must follow front to back.
  void add(const std::string &name, std::uint64_t tensor_bytes, std::uint64_t first,
           const void *data, std::size_t bytes);
  std::string bytes() const; // serialised
  // Of all items that a rank holds.
  static std::string of(const std::vector<Section> &sections);

private:
  struct Run { // successive blocks of one tensor
    std::string name;
    std::uint64_t block;
    std::vector<base::Hash128> sums;
  };
  struct Fragment { // of a block that others hold the rest of
    std::string name;
    std::uint64_t first;
    std::string bytes;
  };
  void add_sum(const std::string &name, std::uint64_t block, base::Hash128 sum);
  std::vector<Run> runs_;
  std::vector<Fragment> fragments_;
};

// The hash of the whole: global tensors and scalars in their order (Snapshot::whole), and the lists of all ranks in any order. Bytes that
// nobody has or two have are a fault of the program, which names the tensor.
std::string fold(const std::vector<Section> &whole, const std::vector<std::string> &lists);

} // namespace checkpoint

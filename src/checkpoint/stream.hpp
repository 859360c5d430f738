// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tensors that no memory holds whole: state.h5 is laid out first, then their bytes are written to their places in pieces. On the way
// the checksum of every tensor and the state hash are made, so that everything is read once.
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/hdf5_file.hpp"

namespace checkpoint {

struct Sums {
  std::vector<std::vector<std::string>> xxh3_128; // [section][item], hexadecimal
  std::string blocks;                             // a list of BlockHashes, where asked for
};

// Fills the places of produced items in the file that write_hdf5 made, and sums up all items. A write that fails: Hdf5Failure.
Sums fill_and_sum(const std::filesystem::path &path, const std::vector<Section> &sections,
                  const TensorOffsets &offsets, bool with_blocks, const Pulse &pulse = {});

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one place that talks to HDF5. Debian's library is not thread-safe: every call holds one process-wide mutex. HDF5's own printing
// is silenced; its error stack goes into the message of the exception.
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

// What HDF5 said, without a place or number: callers turn it into a UserError.
class Hdf5Failure : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

// Where each tensor's bytes begin in the file: [section][item]; 0 for tensors without elements.
using TensorOffsets = std::vector<std::vector<std::uint64_t>>;

// Called between two items; what it throws ends the writing.
using Pulse = std::function<void()>;

// A group per section, a contiguous data set per item. bf16 is a custom floating-point type whose file form is its memory form, so
// that h5dump and h5py read real values and no conversion takes place. No times are stored: equal states give equal files.
TensorOffsets write_hdf5(const std::filesystem::path &path, const std::vector<Section> &sections);
// The same for pieces: data sets of one dimension, "tensor@first", with attributes "shape" and "first".
TensorOffsets write_hdf5_pieces(const std::filesystem::path &path,
                                const std::vector<Section> &sections, const Pulse &pulse);
// Reads whole tensors into the items' memory; shapes and types must be those of the file.
void read_hdf5(const std::filesystem::path &path, const std::string &section,
               const std::vector<Item> &items);

} // namespace checkpoint

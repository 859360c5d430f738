// SPDX-License-Identifier: Apache-2.0
#pragma once
// What each of many writers says about its file (part-00003.json, sealed; block hashes in part-00003.blocks), and the manifest that is
// made of all of them.
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/stream.hpp"

namespace checkpoint {

struct Part {
  int writer = 0;
  FileSum state, blocks;
  struct Tensor {
    std::string section, name;
    StoredPiece piece;
  };
  std::vector<Tensor> tensors;
  std::string common; // hash of what all writers must have been given alike
};

std::string part_file_of(int writer);   // "part-00003.json"
std::string blocks_file_of(int writer); // "part-00003.blocks"

// Hash of step, attempt, number of writers, state hash, and names, shapes, types and scalars of the whole.
std::string common_of(const Snapshot &snapshot, int writers);

Part make_part(const Snapshot &snapshot, const WriterOptions &options, const FileSum &state,
               const TensorOffsets &offsets, const Sums &sums);
std::string text_of(const Part &part);
// Empty when the text is not whole (yet): on a network file system it may come in steps.
std::optional<Part> parse_part(const std::string &text);

// The manifest, format version 2. Parts that leave a hole, overlap, or were given something else than writer 0: a fault of the program,
// which names tensor, elements and writers.
nlohmann::json merge(const Snapshot &snapshot, const std::vector<Part> &parts,
                     const std::string &state_hash);

} // namespace checkpoint

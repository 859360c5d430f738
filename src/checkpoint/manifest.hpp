// SPDX-License-Identifier: Apache-2.0
#pragma once
// manifest.json of a step directory (version 1: one file of whole tensors; 2: files of pieces), and the DONE marker that seals it (the manifest's own
// checksum). Parsing is strict and complete: a file that is not what this program wrote is a fault
// with a name (E211, E212), never a crash later.
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/stream.hpp"

namespace checkpoint {

inline constexpr const char *kStateFile = "state.h5";
inline constexpr const char *kManifestFile = "manifest.json";
inline constexpr const char *kDoneFile = "DONE";

struct FileSum {
  std::uint64_t bytes = 0;
  std::string xxh3_128;
};
// Checksum of a whole file, streamed. Throws UserError E211 when it cannot be read.
FileSum sum_of(const std::filesystem::path &path);

struct StoredPiece { // elements [first, first + count) of a tensor
  std::string file;
  std::uint64_t first = 0, count = 0;
  std::uint64_t offset = 0; // of its first byte in the file: bytes are found without HDF5
  std::string xxh3_128;
};
struct StoredTensor {
  Item item; // data = null
  std::vector<StoredPiece>
      pieces; // in order, without hole or overlap; version 1: one, also of no elements
};
struct StoredSection {
  std::string name;
  nlohmann::json scalars;
  std::vector<StoredTensor> tensors;
};
struct Manifest {
  nlohmann::json json;
  std::int64_t step = 0, version = 1;
  std::string deck, state_hash;
  std::map<std::string, FileSum> states;    // files of tensors by name; at least one
  std::map<std::string, std::string> texts; // tokenizer.json and companions: XXH3-128
  std::vector<StoredSection> sections;
};

std::string state_file_of(int writer);       // "state-00003.h5"
bool is_state_file(const std::string &name); // of many writers

// The entries that do not depend on the files of tensors: all but these and the sections.
nlohmann::json manifest_head(const Snapshot &snapshot, int version, const std::string &state_hash);
// Version 1; offsets are those that write_hdf5 returned, sums those of fill_and_sum.
nlohmann::json make_manifest(const Snapshot &snapshot, const std::string &state_hash,
                             const FileSum &state, const TensorOffsets &offsets, const Sums &sums);
// The content of DONE for a manifest's text.
std::string seal_of(const std::string &manifest);
// Reads and checks manifest.json against DONE: faults E210 (no DONE), E211 (damaged), E212 (other
// format version).
Manifest read_manifest(const std::filesystem::path &directory);
// The same of a manifest's text, without the seal; directory: for messages.
Manifest parse_manifest(const std::string &text, const std::filesystem::path &directory);

// The advice of every E211.
inline constexpr const char *kDamagedAdvice =
    "The checkpoint is damaged. Use another one; nothing was deleted.";

} // namespace checkpoint

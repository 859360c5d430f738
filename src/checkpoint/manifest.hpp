// SPDX-License-Identifier: Apache-2.0
#pragma once
// manifest.json of a step directory, and the DONE marker that seals it (the manifest's own
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

struct StoredTensor {
  Item item;                // data = null
  std::uint64_t offset = 0; // of its first byte in state.h5: bytes are found without HDF5
  std::string xxh3_128;
};
struct StoredSection {
  std::string name;
  nlohmann::json scalars;
  std::vector<StoredTensor> tensors;
};
struct Manifest {
  nlohmann::json json;
  std::int64_t step = 0;
  std::string deck, state_hash;
  FileSum state;
  std::map<std::string, std::string> texts; // tokenizer.json and companions: XXH3-128
  std::vector<StoredSection> sections;
};

// What is written; offsets are those that write_hdf5 returned, sums those of fill_and_sum.
nlohmann::json make_manifest(const Snapshot &snapshot, const FileSum &state,
                             const TensorOffsets &offsets, const Sums &sums);
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

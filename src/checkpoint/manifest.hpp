// SPDX-License-Identifier: Apache-2.0
#pragma once
// manifest.json of a step directory, and the DONE marker that seals it (the manifest's own checksum). Parsing is strict: a file that is
// not what this program wrote is a fault with a name (E211, E212), never a crash.
#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

inline constexpr const char *kStateFile = "state.h5";
inline constexpr const char *kManifestFile = "manifest.json";
inline constexpr const char *kDoneFile = "DONE";

std::string step_name(std::int64_t step); // "step-00001200"
const char *name_of(Type type);

struct FileSum {
  std::uint64_t bytes = 0;
  std::string xxh3_128;
};
// Checksum of a whole file, streamed. Throws UserError E211 when it cannot be read.
FileSum sum_of(const std::filesystem::path &path);

nlohmann::json make_manifest(const Snapshot &snapshot, const FileSum &state);
// Reads and checks manifest.json against DONE: faults E210 (no DONE), E211 (damaged), E212 (newer format).
nlohmann::json read_manifest(const std::filesystem::path &directory);
std::vector<Item> items_of(const nlohmann::json &manifest, const std::string &section, const std::string &where);

} // namespace checkpoint

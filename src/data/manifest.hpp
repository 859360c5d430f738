// SPDX-License-Identifier: Apache-2.0
#pragma once
// manifest.json of a data directory: written last, so that its presence means that the data is whole (docs/data.md).
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus.hpp"
#include "data/shards.hpp"

namespace data {

// One split (train or validation) of one source.
struct SplitInfo {
  std::vector<ShardInfo> shards;
  std::int64_t documents() const;
  std::int64_t tokens() const;
  std::int64_t text_bytes() const;
};

struct SourceInfo {
  std::string name;
  double weight = 1.0;
  std::int64_t files = 0, file_bytes = 0;
  Skipped skipped;
  SplitInfo train, validation;
};

struct Manifest {
  std::string options_hash,
      inputs_hash; // what it was built from: keys of the deck; paths, sizes and times of the files
  std::string tokenizer_file, tokenizer_hash;
  int vocabulary = 0, token_width = 2;
  std::vector<SourceInfo> sources;

  // What the data is, wherever and whenever it was built: tokenizer and shards' checksums in order, without weights.
  std::string content_hash() const;
  std::int64_t size() const; // bytes of all shards
  std::string to_json() const;
};

// Errors E119 (no finished data here), E120 (not a manifest that we understand; says which part).
Manifest read_manifest(const std::filesystem::path &directory);
Manifest manifest_from_json(std::string_view json, const std::string &where);
inline std::filesystem::path manifest_path(const std::filesystem::path &directory) {
  return directory / "manifest.json";
}

// One part of a build: a run of documents of one source, with the two shards that they gave. Its file is written after
// the shards, so that an interrupted build goes on behind the last part.
struct Part {
  std::string tokenizer_hash;
  Position next;     // where the following part begins
  bool last = false; // the source ends here
  Skipped skipped;
  ShardInfo train, validation; // without documents: no file
  std::string to_json() const;
};
// Throws UserError E120 when it is not one.
Part part_from_json(std::string_view json, const std::string &where);

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A shard: the tokens of whole documents in one file, little-endian, read through a memory map (docs/data.md).
//
//   byte  0  "HADALTOK"                       32  tokens t (u64)
//         8  version 1 (u32)                  40  bytes of UTF-8 text (u64)
//        12  bytes of a token: 2 or 4 (u32)   48  XXH3-128 of all other bytes, high word first
//        16  documents n (u64)                64  n + 1 token offsets (u64), the first 0, the last t
//        24  reserved, 0 (u64)                    then t tokens (u16 or u32)
//
// No end-of-sentence token is stored: packing puts one behind every document.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/files.hpp"
#include "base/hash.hpp"
#include "data/tokenizer.hpp"

namespace data {

// What the manifest says of one shard.
struct ShardInfo {
  std::string file; // relative to the data directory
  std::int64_t documents = 0, tokens = 0, text_bytes = 0, size = 0;
  std::string hash; // XXH3-128 as in the header
  bool operator==(const ShardInfo &) const = default;
};

// Gathers documents in memory and writes them as one shard.
class ShardWriter {
public:
  explicit ShardWriter(int token_width);
  void add(const std::vector<Token> &tokens, std::int64_t text_bytes);
  std::int64_t tokens() const { return static_cast<std::int64_t>(tokens_.size()); }
  std::int64_t documents() const { return static_cast<std::int64_t>(offsets_.size()) - 1; }
  // Writes atomically below directory and starts anew. Error E117.
  ShardInfo write(const std::filesystem::path &directory, const std::string &file);

private:
  int width_;
  std::int64_t text_bytes_ = 0;
  std::vector<std::uint64_t> offsets_{0};
  std::vector<Token> tokens_;
};

// A mapped shard. Sizes, counts and the order of the offsets are checked at opening (E121), the checksum by verify() (E122).
class Shard {
public:
  Shard(const std::filesystem::path &directory, const ShardInfo &info);
  void verify() const;
  std::int64_t documents() const { return documents_; }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t begin(std::int64_t document) const; // token offset; begin(documents()) = tokens()
  std::int64_t length(std::int64_t document) const { return begin(document + 1) - begin(document); }
  // Copies tokens [first, first + count) of the shard. vocabulary: larger ids are damage (E122).
  void copy(std::int64_t first, std::int64_t count, Token vocabulary, Token *out) const;

private:
  [[noreturn]] void damaged(const std::string &read) const;
  std::filesystem::path path_;
  base::MappedFile file_;
  std::int64_t documents_ = 0, tokens_ = 0;
  int width_ = 0;
  std::string hash_;
};

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A finished data directory, opened for reading: manifest, tokenizer, mapped shards.
#include <cstdint>
#include <filesystem>
#include <vector>

#include "data/manifest.hpp"
#include "data/shards.hpp"
#include "data/tokenizer.hpp"

namespace data {

// The documents of one split of one source, numbered through its shards.
class DocumentSet {
public:
  DocumentSet(const std::filesystem::path &directory, const SplitInfo &split, int vocabulary);
  std::int64_t documents() const { return first_.back(); }
  std::int64_t tokens() const { return tokens_; }
  std::int64_t length(std::int64_t document) const;
  // Copies tokens [first, first + count) of a document. Error E122 when a token is none.
  void copy(std::int64_t document, std::int64_t first, std::int64_t count, Token *out) const;
  void verify() const;

private:
  std::size_t shard_of(std::int64_t document) const;
  std::vector<Shard> shards_;
  std::vector<std::int64_t> first_; // number of each shard's first document; one more than shards
  std::int64_t tokens_ = 0;
  Token vocabulary_;
};

class Dataset {
public:
  // Checks sizes, tables and the tokenizer; also all checksums when the shards have less than 64 MB in all. Errors E119 to E123.
  explicit Dataset(const std::filesystem::path &directory);
  const std::filesystem::path &directory() const { return directory_; }
  const Manifest &manifest() const { return manifest_; }
  const Tokenizer &tokenizer() const { return tokenizer_; }
  int sources() const { return static_cast<int>(manifest_.sources.size()); }
  const DocumentSet &train(int source) const { return train_.at(static_cast<std::size_t>(source)); }
  const DocumentSet &validation(int source) const {
    return validation_.at(static_cast<std::size_t>(source));
  }
  void verify() const; // all checksums; E122

private:
  std::filesystem::path directory_;
  Manifest manifest_;
  Tokenizer tokenizer_;
  std::vector<DocumentSet> train_, validation_;
};

} // namespace data

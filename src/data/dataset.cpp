// SPDX-License-Identifier: Apache-2.0
#include "data/dataset.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace data {
namespace {

constexpr std::int64_t kVerifiedAtOpening = 64000000; // bytes of shards

Tokenizer load_tokenizer(const std::filesystem::path &directory, const Manifest &manifest) {
  const std::filesystem::path path = directory / manifest.tokenizer_file;
  const auto refuse = [&](const std::string &read) {
    throw base::UserError(base::Exit::data, "E123", path.string(), read,
                          "The tokens mean nothing without the tokenizer they were made with: put "
                          "its file back, or delete this one and run hadal data build again.");
  };
  std::error_code error;
  if (!std::filesystem::exists(path, error)) refuse("the data's tokenizer is missing");
  Tokenizer tokenizer = Tokenizer::load(path);
  if (tokenizer.hash().hex() != manifest.tokenizer_hash || tokenizer.size() != manifest.vocabulary)
    refuse(fmt::format("another tokenizer ({}, {} ids) than the manifest's ({}, {} ids)",
                       tokenizer.hash().hex(), tokenizer.size(), manifest.tokenizer_hash,
                       manifest.vocabulary));
  return tokenizer;
}

} // namespace

DocumentSet::DocumentSet(const std::filesystem::path &directory, const SplitInfo &split,
                         int vocabulary)
    : first_{0}, vocabulary_(vocabulary) {
  for (const ShardInfo &info : split.shards) {
    shards_.emplace_back(directory, info);
    first_.push_back(first_.back() + info.documents);
    tokens_ += info.tokens;
  }
}

std::size_t DocumentSet::shard_of(std::int64_t document) const {
  HADAL_CHECK(document >= 0 && document < documents(), "document {} of {}", document, documents());
  return static_cast<std::size_t>(std::upper_bound(first_.begin(), first_.end(), document) -
                                  first_.begin()) -
         1;
}

std::int64_t DocumentSet::length(std::int64_t document) const {
  const std::size_t s = shard_of(document);
  return shards_[s].length(document - first_[s]);
}

void DocumentSet::copy(std::int64_t document, std::int64_t first, std::int64_t count,
                       Token *out) const {
  const std::size_t s = shard_of(document);
  const std::int64_t local = document - first_[s];
  HADAL_CHECK(first >= 0 && count >= 0 && first + count <= shards_[s].length(local),
              "tokens {} + {} of {}", first, count, shards_[s].length(local));
  shards_[s].copy(shards_[s].begin(local) + first, count, vocabulary_, out);
}

void DocumentSet::verify() const {
  for (const Shard &shard : shards_) shard.verify();
}

Dataset::Dataset(const std::filesystem::path &directory)
    : directory_(directory), manifest_(read_manifest(directory)),
      tokenizer_(load_tokenizer(directory, manifest_)) {
  for (const SourceInfo &source : manifest_.sources) {
    train_.emplace_back(directory_, source.train, manifest_.vocabulary);
    validation_.emplace_back(directory_, source.validation, manifest_.vocabulary);
  }
  if (manifest_.size() < kVerifiedAtOpening) verify();
}

void Dataset::verify() const {
  for (const DocumentSet &set : train_) set.verify();
  for (const DocumentSet &set : validation_) set.verify();
}

} // namespace data

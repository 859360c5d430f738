// SPDX-License-Identifier: Apache-2.0
#include "data/shards.hpp"

#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.hpp"

namespace data {
namespace {

static_assert(std::endian::native == std::endian::little,
              "shards are little-endian and read in place");

using base::Exit;
using base::UserError;

constexpr std::string_view kMagic = "HADALTOK";
constexpr std::size_t kHeader = 64, kHashAt = 48;

template <class T> void put(std::string &bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <class T> T get(const std::byte *bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes + at, sizeof value);
  return value;
}

// Of the header before its hash, then of everything behind the header.
base::Hash128 content_hash(const void *bytes, std::size_t size) {
  const char *text = static_cast<const char *>(bytes);
  base::Digest128 digest;
  digest.add(text, kHashAt);
  digest.add(text + kHeader, size - kHeader);
  return digest.value();
}

} // namespace

ShardWriter::ShardWriter(int token_width) : width_(token_width) {}

void ShardWriter::add(const std::vector<Token> &tokens, std::int64_t text_bytes) {
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  offsets_.push_back(tokens_.size());
  text_bytes_ += text_bytes;
}

ShardInfo ShardWriter::write(const std::filesystem::path &directory, const std::string &file) {
  const std::size_t table = offsets_.size() * sizeof(std::uint64_t),
                    width = static_cast<std::size_t>(width_);
  std::string bytes(kHeader + table + tokens_.size() * width, '\0');
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  put<std::uint32_t>(bytes, 8, 1);
  put<std::uint32_t>(bytes, 12, static_cast<std::uint32_t>(width_));
  put<std::uint64_t>(bytes, 16, offsets_.size() - 1);
  put<std::uint64_t>(bytes, 32, tokens_.size());
  put<std::uint64_t>(bytes, 40, static_cast<std::uint64_t>(text_bytes_));
  std::memcpy(bytes.data() + kHeader, offsets_.data(), table);
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    const auto token = static_cast<std::uint32_t>(tokens_[i]);
    std::memcpy(bytes.data() + kHeader + table + i * width, &token, width);
  }
  const base::Hash128 hash = content_hash(bytes.data(), bytes.size());
  put<std::uint64_t>(bytes, kHashAt, hash.high);
  put<std::uint64_t>(bytes, kHashAt + 8, hash.low);
  base::write_file_atomic(directory / file, bytes, Exit::data, "E117");
  ShardInfo info{
      file,      documents(), tokens(), text_bytes_, static_cast<std::int64_t>(bytes.size()),
      hash.hex()};
  offsets_ = {0};
  tokens_.clear();
  text_bytes_ = 0;
  return info;
}

Shard::Shard(const std::filesystem::path &directory, const ShardInfo &info)
    : path_(directory / info.file), file_(path_, Exit::data, "E121"), documents_(info.documents),
      tokens_(info.tokens), hash_(info.hash) {
  const auto size = static_cast<std::int64_t>(file_.size());
  if (size != info.size)
    damaged(fmt::format("{} bytes long, not {} as in the manifest", size, info.size));
  if (size < static_cast<std::int64_t>(kHeader) || file_.text().substr(0, kMagic.size()) != kMagic)
    damaged("not a token shard");
  const std::byte *bytes = file_.data();
  if (get<std::uint32_t>(bytes, 8) != 1)
    damaged(fmt::format("shard version {}; this program reads 1", get<std::uint32_t>(bytes, 8)));
  width_ = static_cast<int>(get<std::uint32_t>(bytes, 12));
  const auto n = get<std::uint64_t>(bytes, 16), t = get<std::uint64_t>(bytes, 32),
             bound = static_cast<std::uint64_t>(size);
  if ((width_ != 2 && width_ != 4) || n != static_cast<std::uint64_t>(documents_) ||
      t != static_cast<std::uint64_t>(tokens_) || n > bound / 8 || t > bound ||
      kHeader + (n + 1) * 8 + t * static_cast<std::uint64_t>(width_) != bound)
    damaged("counts that contradict the manifest or the size");
  if (begin(0) != 0 || begin(documents_) != tokens_) damaged("a broken table of documents");
  for (std::int64_t d = 0; d < documents_; ++d)
    if (begin(d) > begin(d + 1)) damaged("a broken table of documents");
}

void Shard::verify() const {
  const base::Hash128 stored{get<std::uint64_t>(file_.data(), kHashAt),
                             get<std::uint64_t>(file_.data(), kHashAt + 8)};
  const base::Hash128 found = content_hash(file_.data(), file_.size());
  if (found == stored && found.hex() == hash_) return;
  throw UserError(Exit::data, "E122", path_.string(),
                  fmt::format("checksum {}, not {} as in the manifest", found.hex(), hash_),
                  "The shard is damaged; suspect the disk. Delete this file, then run hadal data "
                  "build again: it rebuilds what is missing.");
}

std::int64_t Shard::begin(std::int64_t document) const {
  return static_cast<std::int64_t>(
      get<std::uint64_t>(file_.data(), kHeader + static_cast<std::size_t>(document) * 8));
}

void Shard::copy(std::int64_t first, std::int64_t count, Token vocabulary, Token *out) const {
  HADAL_CHECK(first >= 0 && count >= 0 && first + count <= tokens_, "tokens {} + {} of {}", first,
              count, tokens_);
  const std::byte *tokens = file_.data() + kHeader + static_cast<std::size_t>(documents_ + 1) * 8;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(first + i);
    const std::uint32_t id =
        width_ == 2 ? get<std::uint16_t>(tokens, 2 * at) : get<std::uint32_t>(tokens, 4 * at);
    if (id >= static_cast<std::uint32_t>(vocabulary))
      throw UserError(
          Exit::data, "E122", path_.string(),
          fmt::format("token {} at place {}, but the tokenizer has {} ids", id, at, vocabulary),
          "The shard is damaged; hadal data stats --verify checks all of them. Delete it, then run "
          "hadal data build again.");
    out[i] = static_cast<Token>(id);
  }
}

void Shard::damaged(const std::string &read) const {
  throw UserError(Exit::data, "E121", path_.string(), read,
                  "The shard is truncated or not the one that was built. Run hadal data build "
                  "again: it rebuilds what is missing.");
}

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "base/hash.hpp"
#include "checkpoint/block_hashes.hpp"

namespace checkpoint {
namespace {

constexpr std::size_t kPiece = 16 * StateHash::kBlockBytes;

// The file that the pieces go to; opened at the first of them.
class Places {
public:
  explicit Places(const std::filesystem::path &path) : path_(path) {}
  ~Places() {
    if (file_ >= 0) ::close(file_);
  }
  Places(const Places &) = delete;
  void write(std::uint64_t offset, const char *data, std::size_t bytes) {
    if (file_ < 0) file_ = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
    if (file_ < 0) throw Hdf5Failure(std::strerror(errno));
    while (bytes > 0) {
      const ssize_t n = ::pwrite(file_, data, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) throw Hdf5Failure(n < 0 ? std::strerror(errno) : "nothing was written");
      data += n, offset += static_cast<std::uint64_t>(n), bytes -= static_cast<std::size_t>(n);
    }
  }
  // Dirty pages do not pile up: they are sent to the disk as the writing goes on.
  void flush(std::uint64_t offset, std::size_t bytes) {
#if defined(SYNC_FILE_RANGE_WRITE)
    ::sync_file_range(file_, static_cast<off_t>(offset), static_cast<off_t>(bytes),
                      SYNC_FILE_RANGE_WRITE);
#endif
  }

private:
  std::filesystem::path path_;
  int file_ = -1;
};

std::string fill(const Item &item, const std::string &name, std::uint64_t offset, Places &places,
                 std::vector<char> &piece, BlockHashes *blocks, const Pulse &pulse) {
  base::Digest128 digest;
  const std::uint64_t bytes = item.bytes();
  for (std::uint64_t first = 0; first < bytes; first += kPiece) {
    if (pulse) pulse();
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, bytes - first));
    piece.resize(std::max(piece.size(), n));
    item.produce(first, n, piece.data());
    digest.add(piece.data(), n);
    if (blocks) blocks->add(name, item.tensor_bytes(), item.first_byte() + first, piece.data(), n);
    places.write(offset + first, piece.data(), n);
    places.flush(offset + first, n);
  }
  return digest.value().hex();
}

} // namespace

Sums fill_and_sum(const std::filesystem::path &path, const std::vector<Section> &sections,
                  const TensorOffsets &offsets, bool with_blocks, const Pulse &pulse) {
  Sums sums;
  BlockHashes hashes, *blocks = with_blocks ? &hashes : nullptr;
  Places places(path);
  std::vector<char> piece;
  for (std::size_t s = 0; s < sections.size(); ++s) {
    auto &of_section = sums.xxh3_128.emplace_back();
    for (std::size_t i = 0; i < sections[s].items.size(); ++i) {
      const Item &item = sections[s].items[i];
      const std::string name = sections[s].name + "/" + item.name;
      if (pulse) pulse();
      if (item.produce) {
        of_section.push_back(fill(item, name, offsets[s][i], places, piece, blocks, pulse));
      } else {
        of_section.push_back(base::hash128(item.data, item.bytes()).hex());
        if (blocks)
          blocks->add(name, item.tensor_bytes(), item.first_byte(), item.data, item.bytes());
      }
    }
  }
  if (blocks) sums.blocks = blocks->bytes();
  return sums;
}

} // namespace checkpoint

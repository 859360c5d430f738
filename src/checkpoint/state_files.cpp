// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/state_files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

constexpr std::size_t kMostOpen = 16, kBuffer = std::size_t{1} << 22;

[[noreturn]] void damaged(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E211", where.string(), what, kDamagedAdvice);
}

// f(piece, first, last): the bytes of the tensor that lie in the piece and are wanted.
template <class F>
void each_touched(const StoredTensor &t, std::uint64_t first, std::size_t bytes, const F &f) {
  const std::uint64_t width = bytes_of(t.item.type), end = first + bytes;
  // The first piece that ends behind `first`.
  auto piece = std::ranges::upper_bound(
      t.pieces, first, {}, [&](const StoredPiece &p) { return (p.first + p.count) * width; });
  for (; piece != t.pieces.end() && piece->first * width < end; ++piece)
    f(*piece, std::max(first, piece->first * width),
      std::min(end, (piece->first + piece->count) * width));
}

} // namespace

int StateFiles::open(const std::string &file) {
  if (const auto found = open_.find(file); found != open_.end()) return found->second;
  if (open_.size() >= kMostOpen) close_all();
  const int descriptor = ::open((directory_ / file).c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) damaged(directory_ / file, std::strerror(errno));
  return open_[file] = descriptor;
}

void StateFiles::close_all() {
  for (const auto &[file, descriptor] : open_) ::close(descriptor);
  open_.clear();
}

void StateFiles::read_at(const std::string &file, std::uint64_t offset, std::size_t bytes,
                         void *to) {
  const int descriptor = open(file);
  auto *place = static_cast<char *>(to);
  while (bytes > 0) {
    const ssize_t n = ::pread(descriptor, place, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) damaged(directory_ / file, n < 0 ? std::strerror(errno) : "ends too early");
    place += n, offset += static_cast<std::uint64_t>(n), bytes -= static_cast<std::size_t>(n);
  }
}

bool StateFiles::right(const StoredPiece &piece, std::size_t width, std::uint64_t from,
                       std::size_t bytes, void *to) {
  base::Digest128 digest;
  const std::uint64_t all = piece.count * width, end = from + bytes;
  std::vector<char> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(all, kBuffer)));
  for (std::uint64_t at = 0; at < all; at += buffer.size()) {
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), all - at));
    read_at(piece.file, piece.offset + at, n, buffer.data());
    digest.add(buffer.data(), n);
    const std::uint64_t first = std::max(from, at), last = std::min(end, at + n);
    if (first < last)
      std::memcpy(static_cast<char *>(to) + (first - from), buffer.data() + (first - at),
                  static_cast<std::size_t>(last - first));
  }
  return digest.value().hex() == piece.xxh3_128;
}

void StateFiles::require_right(const std::string &name, const StoredPiece &piece, bool right) {
  if (!right)
    damaged(directory_ / piece.file, fmt::format("{}, elements {} to {}, was changed", name,
                                                 piece.first, piece.first + piece.count));
  verified_.insert(&piece);
}

void StateFiles::read(const std::string &name, const StoredTensor &tensor, std::uint64_t first,
                      std::size_t bytes, void *to, Check check) {
  const std::size_t width = bytes_of(tensor.item.type);
  each_touched(tensor, first, bytes, [&](const StoredPiece &p, std::uint64_t a, std::uint64_t b) {
    char *place = static_cast<char *>(to) + (a - first);
    const std::uint64_t begin = p.first * width;
    const auto n = static_cast<std::size_t>(b - a);
    if (check == Check::none || verified_.contains(&p))
      return read_at(p.file, p.offset + (a - begin), n, place);
    if (n == p.count * width) {
      read_at(p.file, p.offset, n, place);
      return require_right(name, p, base::hash128(place, n).hex() == p.xxh3_128);
    }
    if (check == Check::whole) return read_at(p.file, p.offset + (a - begin), n, place);
    require_right(name, p, right(p, width, a - begin, n, place));
  });
}

void StateFiles::verify(const std::string &name, const StoredTensor &tensor, std::uint64_t first,
                        std::size_t bytes) {
  const std::size_t width = bytes_of(tensor.item.type);
  each_touched(tensor, first, bytes, [&](const StoredPiece &p, std::uint64_t, std::uint64_t) {
    if (!verified_.contains(&p)) require_right(name, p, right(p, width));
  });
}

std::string StateFiles::fault_of(const std::string &file, const Manifest &manifest) {
  const FileSum &said = manifest.states.at(file);
  std::error_code error;
  const auto bytes = fs::file_size(directory_ / file, error);
  if (error) return fmt::format("{}: {}", file, error.message());
  if (bytes != said.bytes)
    return fmt::format("{} has {} bytes, {} were written", file, bytes, said.bytes);
  try {
    if (sum_of(directory_ / file).xxh3_128 == said.xxh3_128) return "";
    const auto what = [&](const std::string &changed) {
      return fmt::format("{} does not match its checksum: {}", file, changed);
    };
    for (const StoredSection &s : manifest.sections)
      for (const StoredTensor &t : s.tensors)
        for (const StoredPiece &p : t.pieces)
          if (p.file == file && !right(p, bytes_of(t.item.type)))
            return what(s.name + "/" + t.item.name + " was changed");
    return what("its structure was changed, no tensor");
  } catch (const UserError &fault) {
    return fault.what();
  }
}

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files the careful way: whole-file reads with a size limit, atomic replacement with fsync, memory
// maps, directory locks.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace base {

// Reads a whole regular file. Errors name the path and the system's reason; code and number are
// those of the caller's subject. A file of more than `limit` bytes is refused before it is read.
std::string read_file(const std::filesystem::path &path, Exit code, std::string_view number,
                      std::size_t limit = std::numeric_limits<std::size_t>::max());
// Writes beside, fsyncs, renames over: readers see the old text or the new one. A full disk leaves
// the old file.
void write_file_atomic(const std::filesystem::path &path, std::string_view text, Exit code,
                       std::string_view number);
void sync_directory(const std::filesystem::path &path); // fsync of the directory entry; E072

// Read-only memory map of a whole file; unmapped by the destructor. Movable.
class MappedFile {
public:
  MappedFile(const std::filesystem::path &path, Exit code, std::string_view number);
  MappedFile(const MappedFile &) = delete;
  MappedFile(MappedFile &&) noexcept;
  MappedFile &operator=(MappedFile &&) noexcept;
  ~MappedFile();
  const std::byte *data() const { return data_; }
  std::size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char *>(data_), size_}; }
  // Gives the pages of [first, first + bytes) back to the system; they are read again when needed.
  void release(std::size_t first, std::size_t bytes) const;

private:
  const std::byte *data_ = nullptr;
  std::size_t size_ = 0;
};

// Exclusive lock of a directory (flock on <dir>/.lock) while the object lives; another holder is a
// machine error (E070) that names the holder's process. A directory that cannot hold a lock is
// E071.
class DirectoryLock {
public:
  explicit DirectoryLock(const std::filesystem::path &directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock &) = delete;
  DirectoryLock &operator=(const DirectoryLock &) = delete;

private:
  int descriptor_ = -1;
};

} // namespace base

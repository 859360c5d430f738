// SPDX-License-Identifier: Apache-2.0
#include "base/output_file.hpp"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <unistd.h>

#include "base/files.hpp"

namespace base {

OutputFile::OutputFile(std::filesystem::path path, Exit code, std::string_view number)
    : path_(std::move(path)), partial_(path_.string() + ".partial"), code_(code), number_(number) {
  file_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) fail(errno);
}

OutputFile::~OutputFile() {
  if (finished_) return;
  if (file_ >= 0) ::close(file_);
  std::error_code error;
  std::filesystem::remove(partial_, error);
}

void OutputFile::fail(int error) const {
  throw UserError(code_, number_, path_.string(),
                  std::string("cannot be written: ") + std::strerror(error),
                  "Free some space or check the permissions.");
}

void OutputFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(file_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(n < 0 ? errno : ENOSPC);
    bytes.remove_prefix(static_cast<std::size_t>(n));
    written_ += static_cast<std::uint64_t>(n);
  }
#if defined(SYNC_FILE_RANGE_WRITE)
  if (written_ - sent_ >= std::uint64_t{1} << 26) { // the disk begins while we compute
    ::sync_file_range(file_, static_cast<off_t>(sent_), static_cast<off_t>(written_ - sent_),
                      SYNC_FILE_RANGE_WRITE);
    sent_ = written_;
  }
#endif
}

void OutputFile::finish() {
  if (::fsync(file_) != 0) fail(errno);
  const int file = file_;
  file_ = -1;
  if (::close(file) != 0) fail(errno);
  std::error_code error;
  std::filesystem::rename(partial_, path_, error);
  if (error) fail(error.value());
  finished_ = true;
  const auto folder = path_.parent_path();
  sync_directory(folder.empty() ? "." : folder);
}

} // namespace base

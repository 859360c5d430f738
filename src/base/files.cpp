// SPDX-License-Identifier: Apache-2.0
#include "base/files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/text.hpp"

namespace base {
namespace {

namespace fs = std::filesystem;

// A file descriptor that closes itself.
class Descriptor {
public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor &) = delete;
  Descriptor &operator=(const Descriptor &) = delete;
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); }

private:
  int number_;
};

std::string reason(int error) { return std::strerror(error); }

std::string advice_for(int error) {
  switch (error) {
  case ENOENT: return "Check the spelling; relative paths count from the current folder.";
  case EACCES:
  case EPERM: return "Check the permissions of the file and of the folders above it.";
  case ENOSPC:
  case EDQUOT: return "Free some space or choose another folder; the old file was left as it was.";
  case EROFS: return "Choose a folder on a file system that can be written to.";
  case EMFILE:
  case ENFILE: return "Too many files are open: raise the limit (ulimit -n).";
  default: return "The file system refused; the old file, if there was one, is unchanged.";
  }
}

// Opens a regular file for reading. Pipes and devices are refused, since they could block or never
// end.
int open_regular(const fs::path &path, Exit code, std::string_view number, std::int64_t &size) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const int error = errno;
    throw UserError(code, number, path.string(), "cannot be read: " + reason(error),
                    advice_for(error));
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    throw UserError(code, number, path.string(), "cannot be read: " + reason(errno), "");
  if (S_ISDIR(status.st_mode))
    throw UserError(code, number, path.string(), "is a directory", "Give a file.");
  if (!S_ISREG(status.st_mode))
    throw UserError(code, number, path.string(), "is not a regular file",
                    "Pipes, sockets and devices cannot be read here; write the text to a file.");
  size = static_cast<std::int64_t>(status.st_size);
  return file.release();
}

[[noreturn]] void too_large(const fs::path &path, Exit code, std::string_view number,
                            std::size_t limit) {
  throw UserError(code, number, path.string(), "is too large",
                  fmt::format("At most {} are read here. Is it the right file?",
                              text::bytes(static_cast<std::int64_t>(limit))));
}

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(file, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::system_error(n < 0 ? errno : ENOSPC, std::generic_category());
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

void write_and_rename(const fs::path &temporary, const fs::path &path, std::string_view text) {
  const auto fail = [] { throw std::system_error(errno, std::generic_category()); };
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail();
  write_all(file.get(), text);
  if (::fsync(file.get()) != 0) fail();
  if (::close(file.release()) != 0) fail();
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail();
}

} // namespace

std::string read_file(const fs::path &path, Exit code, std::string_view number, std::size_t limit) {
  std::int64_t size = 0;
  Descriptor file(open_regular(path, code, number, size));
  if (static_cast<std::uint64_t>(size) > limit) too_large(path, code, number, limit);
  // The size is a hint only: the file may grow, and files of /proc say 0.
  std::string text;
  std::size_t filled = 0;
  text.resize(static_cast<std::size_t>(size) + 1);
  while (true) {
    if (filled == text.size()) text.resize(2 * text.size() + 4096);
    const ssize_t n = ::read(file.get(), text.data() + filled, text.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw UserError(code, number, path.string(), "cannot be read: " + reason(errno), "");
    if (n == 0) break;
    filled += static_cast<std::size_t>(n);
    if (filled > limit) too_large(path, code, number, limit);
  }
  text.resize(filled);
  return text;
}

void write_file_atomic(const fs::path &path, std::string_view text, Exit code,
                       std::string_view number) {
  fs::path temporary = path;
  temporary += fmt::format(".tmp{}", ::getpid());
  try {
    write_and_rename(temporary, path, text);
  } catch (const std::system_error &error) {
    const int value = error.code().value();
    ::unlink(temporary.c_str());
    throw UserError(code, number, path.string(), "cannot be written: " + reason(value),
                    advice_for(value));
  }
  sync_directory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void sync_directory(const fs::path &path) {
  Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0)
    throw UserError(Exit::machine, "E072", path.string(), "cannot be opened: " + reason(errno),
                    advice_for(errno));
  // Some network file systems do not know fsync of a directory and say EINVAL.
  if (::fsync(directory.get()) != 0 && errno != EINVAL && errno != ENOTSUP)
    throw UserError(Exit::machine, "E072", path.string(),
                    "cannot be written to disk: " + reason(errno), advice_for(errno));
}

MappedFile::MappedFile(const fs::path &path, Exit code, std::string_view number) {
  std::int64_t size = 0;
  Descriptor file(open_regular(path, code, number, size));
  if (size == 0) return; // an empty file cannot be mapped
  void *data =
      ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED)
    throw UserError(code, number, path.string(), "cannot be mapped: " + reason(errno),
                    advice_for(errno));
  data_ = static_cast<const std::byte *>(data);
  size_ = static_cast<std::size_t>(size);
}

MappedFile::MappedFile(MappedFile &&other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte *>(data_), size_);
}

void MappedFile::release(std::size_t first, std::size_t bytes) const {
  if (data_ == nullptr || bytes == 0 || first >= size_) return;
  static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = first / page * page, end = std::min(size_, first + bytes);
  ::madvise(const_cast<std::byte *>(data_) + begin, end - begin, MADV_DONTNEED);
}

DirectoryLock::DirectoryLock(const fs::path &directory) {
  const fs::path path = directory / ".lock";
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (file.get() < 0)
    throw UserError(Exit::machine, "E071", path.string(), "cannot be opened: " + reason(errno),
                    advice_for(errno));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    if (error != EWOULDBLOCK)
      throw UserError(Exit::machine, "E071", path.string(), "cannot be locked: " + reason(error),
                      "The file system must know flock; choose another folder.");
    char holder[256];
    const ssize_t n = ::pread(file.get(), holder, sizeof holder, 0);
    std::string_view who(holder, n > 0 ? static_cast<std::size_t>(n) : 0);
    who = who.substr(0, who.find('\n'));
    throw UserError(Exit::machine, "E070", directory.string(),
                    fmt::format("is in use by {}", who.empty() ? "another process" : who),
                    "Wait for that run to end, stop it, or choose another run.directory.");
  }
  char host[128] = "";
  ::gethostname(host, sizeof host - 1);
  const std::string text = fmt::format("process {} on {} since {}\n", ::getpid(), host, utc_now());
  // The name of the holder is a help for the reader only: the lock holds without it.
  if (::ftruncate(file.get(), 0) == 0) [[maybe_unused]]
    const ssize_t n = ::pwrite(file.get(), text.data(), text.size(), 0);
  descriptor_ = file.release();
}

DirectoryLock::~DirectoryLock() {
  if (descriptor_ >= 0)
    ::close(descriptor_); // closing releases; the file stays, removing it would race
}

} // namespace base

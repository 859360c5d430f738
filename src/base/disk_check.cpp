// SPDX-License-Identifier: Apache-2.0
#include "base/disk_check.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/output_file.hpp"
#include "base/random.hpp"

namespace base {
namespace {

struct Removal {
  const std::filesystem::path &file;
  ~Removal() {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
  }
};

// Of the file's name: a file system that mixes up two files is found too.
std::string contents(const std::filesystem::path &file, std::size_t bytes) {
  const std::uint64_t seed = hash64(file.string());
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; i += 8) {
    const std::uint64_t bits = random::bits(seed, random::Purpose::test, 0, i);
    text.replace(i, std::min<std::size_t>(8, bytes - i), reinterpret_cast<const char *>(&bits),
                 std::min<std::size_t>(8, bytes - i));
  }
  return text;
}

// Without this the read would come from memory. A file system may decline.
void forget_cached(const std::filesystem::path &file) {
  const int f = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (f < 0) return;
  ::posix_fadvise(f, 0, 0, POSIX_FADV_DONTNEED);
  ::close(f);
}

} // namespace

DiskRates check_disk(const std::filesystem::path &file, std::size_t bytes,
                     std::string_view number) {
  const std::string written = contents(file, bytes);
  const Removal removal{file};
  DiskRates rates;
  const Stopwatch writing;
  OutputFile out(file, Exit::machine, number);
  out.write(written);
  out.finish();
  rates.write = static_cast<double>(bytes) / writing.seconds();
  forget_cached(file);
  const Stopwatch reading;
  const std::string read = read_file(file, Exit::machine, number);
  rates.read = static_cast<double>(bytes) / reading.seconds();
  if (hash128(read) != hash128(written))
    throw UserError(Exit::machine, number, file.string(), "read back with other contents",
                    "The disk or the file system is faulty: take another folder, tell the "
                    "administrators.");
  return rates;
}

} // namespace base

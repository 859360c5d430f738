// SPDX-License-Identifier: Apache-2.0
// Files by Landlock (Linux 5.13 and later), which any process may use against itself. The header is missing on older machines: numbers
// of calls and rights stand here.
#include <cstdint>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"

namespace sandbox {

namespace {

constexpr long kCreate = 444, kAdd = 445, kRestrict = 446;
constexpr std::uint64_t kExecute = 1 << 0, kWrite = 1 << 1, kRead = 1 << 2, kList = 1 << 3,
                        kTruncate = 1 << 14;

struct __attribute__((packed)) Beneath {
  std::uint64_t allowed;
  std::int32_t parent;
};

bool allow(int rules, const std::string &path, std::uint64_t rights) {
  const int fd = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (fd < 0) return true; // nothing there to be allowed
  struct stat what = {};
  if (fstat(fd, &what) == 0 && !S_ISDIR(what.st_mode))
    rights &= kExecute | kWrite | kRead | kTruncate;
  const Beneath beneath{rights, fd};
  const bool done = syscall(kAdd, rules, 1 /* path beneath */, &beneath, 0) == 0;
  close(fd);
  return done;
}

} // namespace

bool confine_files(const Options &options, const std::string &folder) {
  const long version = syscall(kCreate, nullptr, 0, 1 /* ask for the version */);
  if (version < 1) return false;
  // Version 1 knows 13 rights, 2 moves between folders, 3 truncation.
  const std::uint64_t all = (std::uint64_t{1} << (version >= 3 ? 15 : version == 2 ? 14 : 13)) - 1;
  const int rules = static_cast<int>(syscall(kCreate, &all, sizeof all, 0));
  if (rules < 0) return false;
  bool done = allow(rules, folder, all) && allow(rules, "/proc", kRead | kList);
  for (const char *const *path = kSystem; *path != nullptr; ++path)
    done = done && allow(rules, *path, kExecute | kRead | kList);
  for (const std::string &path : options.visible)
    done = done && allow(rules, path, kExecute | kRead | kList);
  for (const char *const *path = kDevices; *path != nullptr; ++path)
    done = done && allow(rules, *path, kRead | kWrite);
  done = done && syscall(kRestrict, rules, 0) == 0;
  close(rules);
  return done;
}

} // namespace sandbox

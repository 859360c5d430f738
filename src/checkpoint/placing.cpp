// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/placing.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

bool exchange(const fs::path &a, const fs::path &b) {
#if defined(SYS_renameat2)
  constexpr unsigned kExchange = 2; // RENAME_EXCHANGE
  return ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0;
#else
  return false;
#endif
}

} // namespace

void cannot_write(const fs::path &where, const std::string &why) {
  throw UserError(Exit::checkpoint, "E201", where.string(), why,
                  "Free some space or check the permissions; earlier checkpoints are intact.");
}

// Brings a file or a directory's entries to the disk.
void sync(const fs::path &path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool done = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  // Some file systems know no fsync of directories (EINVAL): there is nothing more to be done.
  if (!done && !(descriptor >= 0 && error == EINVAL)) cannot_write(path, std::strerror(error));
}

// A missing gigabyte is said before an hour of writing.
void require_space(const fs::path &directory, const Snapshot &s) {
  std::uint64_t needed = (1 << 20) + s.deck.size() + s.tokenizer.size();
  for (const Section &section : s.sections)
    for (const Item &item : section.items) needed += item.bytes() + 1024;
  struct statvfs disk {};
  if (::statvfs(directory.c_str(), &disk) != 0) return;
  const std::uint64_t available = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  const auto text = [](std::uint64_t n) { return base::text::bytes(static_cast<std::int64_t>(n)); };
  if (available < needed)
    cannot_write(directory, fmt::format("a checkpoint needs {}, the file system has {} left",
                                        text(needed), text(available)));
}

void write_texts(const fs::path &partial, const Snapshot &s) {
  const auto write = [&](const std::string &name, const std::string &text) {
    base::write_file_atomic(partial / name, text, Exit::checkpoint, "E201");
  };
  if (!s.tokenizer.empty()) write("tokenizer.json", s.tokenizer);
  for (const auto &[name, content] : s.companions) write(name, content);
  write("deck.toml", s.deck);
}

void write_sealed(const fs::path &partial, const nlohmann::json &manifest) {
  const auto replace = nlohmann::json::error_handler_t::replace;
  const std::string text = manifest.dump(1, ' ', false, replace) + "\n";
  base::write_file_atomic(partial / kManifestFile, text, Exit::checkpoint, "E201");
  sync(partial);
  base::write_file_atomic(partial / kDoneFile, seal_of(text), Exit::checkpoint, "E201");
  sync(partial);
}

bool intact(const fs::path &directory) {
  try {
    return Reader::open(directory).verify().empty();
  } catch (const UserError &) {
    return false;
  }
}

// partial -> place, whatever lies there.
void move_into_place(const fs::path &partial, const fs::path &place) {
  if (fs::exists(fs::symlink_status(place))) {
    if (!intact(place)) {
      const fs::path aside = free_name(place, "damaged");
      fs::rename(place, aside);
      base::log::warn("{} is no whole checkpoint; it was set aside as {}", place.string(),
                      aside.filename().string());
    } else if (exchange(partial, place)) {
      return;
    } else { // a file system without exchange: for a moment there is none of this step
      const fs::path replaced = free_name(place, "replaced.partial");
      fs::rename(place, replaced);
      fs::rename(partial, place);
      fs::remove_all(replaced);
      return;
    }
  }
  fs::rename(partial, place);
}

void set_aside_later(const fs::path &directory, std::int64_t step) {
  for (const auto &later : Reader::list(directory)) {
    if (*step_of(later) <= step) continue;
    const fs::path aside = free_name(later, "superseded");
    fs::rename(later, aside);
    base::log::warn("{} is of a course that was left at or before step {}; set aside as {}",
                    later.string(), step, aside.filename().string());
  }
}

} // namespace checkpoint

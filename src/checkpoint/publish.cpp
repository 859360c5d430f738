// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/publish.hpp"

#include <algorithm>
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
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

[[noreturn]] void cannot_write(const fs::path &where, const std::string &why) {
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

std::uint64_t write_partial(const fs::path &partial, const Snapshot &s) {
  const TensorOffsets offsets = write_hdf5(partial / kStateFile, s.sections);
  const Sums sums = fill_and_sum(partial / kStateFile, s.sections, offsets, s.state_hash.empty());
  sync(partial / kStateFile);
  const FileSum sum = sum_of(partial / kStateFile);
  const auto replace = nlohmann::json::error_handler_t::replace;
  const std::string manifest =
      make_manifest(s, sum, offsets, sums).dump(1, ' ', false, replace) + "\n";
  const auto write = [&](const char *name, const std::string &text) {
    base::write_file_atomic(partial / name, text, Exit::checkpoint, "E201");
  };
  if (!s.tokenizer.empty()) write("tokenizer.json", s.tokenizer);
  for (const auto &[name, content] : s.companions) write(name.c_str(), content);
  write("deck.toml", s.deck);
  write(kManifestFile, manifest);
  sync(partial);
  write(kDoneFile, seal_of(manifest)); // the seal: all else is on the disk
  sync(partial);
  return sum.bytes;
}

bool intact(const fs::path &directory) {
  try {
    return Reader::open(directory).verify().empty();
  } catch (const UserError &) {
    return false;
  }
}

bool exchange(const fs::path &a, const fs::path &b) {
#if defined(SYS_renameat2)
  constexpr unsigned kExchange = 2; // RENAME_EXCHANGE
  return ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), kExchange) == 0;
#else
  return false;
#endif
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

} // namespace

std::uint64_t publish(const fs::path &directory, const Snapshot &snapshot) {
  const fs::path place = directory / step_name(snapshot.step),
                 partial = place.string() + ".partial";
  // Removes the unfinished one, which also gives back its space.
  struct Guard {
    const fs::path &partial;
    ~Guard() {
      std::error_code error;
      fs::remove_all(partial, error);
    }
  } guard{partial};
  try {
    fs::create_directories(directory);
    fs::remove_all(partial);
    require_space(directory, snapshot);
    fs::create_directory(partial);
    const std::uint64_t bytes = write_partial(partial, snapshot);
    move_into_place(partial, place);
    sync(directory);
    set_aside_later(directory, snapshot.step);
    return bytes;
  } catch (const Hdf5Failure &error) {
    cannot_write(partial / kStateFile, error.what());
  } catch (const fs::filesystem_error &error) {
    cannot_write(error.path1(), error.code().message());
  }
}

void remove_partial(const fs::path &directory) {
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto &entry : fs::directory_iterator(directory, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step-", 0) == 0 && entry.path().extension().string().rfind(".partial", 0) == 0)
      found.push_back(entry.path());
  }
  for (const auto &path : found) fs::remove_all(path, error);
}

bool Keeper::good(const fs::path &directory, std::int64_t step) {
  if (seen_good_.count(step) == 0) {
    if (!intact(directory)) return false;
    seen_good_.insert(step);
    return true;
  }
  try { // written or read whole before: its lengths are enough
    const Manifest manifest = read_manifest(directory);
    return fs::file_size(directory / kStateFile) == manifest.state.bytes;
  } catch (const std::exception &) {
    return false;
  }
}

void Keeper::retire(std::int64_t newest) {
  seen_good_.insert(newest);
  auto all = Reader::list(options_.directory);
  std::reverse(all.begin(), all.end());
  std::int64_t kept = 0;
  for (const auto &directory : all) {
    const std::int64_t step = *step_of(directory);
    if (!good(directory, step)) continue;
    if (kept++ < options_.keep_last || step == newest) continue;
    if (options_.keep_every > 0 && step % options_.keep_every == 0) continue;
    std::error_code error;
    const fs::path going = free_name(directory, "partial"); // half removed, it is no checkpoint
    fs::rename(directory, going, error);
    if (!error) fs::remove_all(going, error);
    if (error)
      base::log::warn("old checkpoint {} cannot be removed: {}", directory.string(),
                      error.message());
  }
}

} // namespace checkpoint

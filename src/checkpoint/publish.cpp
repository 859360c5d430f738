// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/publish.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "checkpoint/block_hashes.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"
#include "checkpoint/placing.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::UserError;

namespace {

std::uint64_t write_partial(const fs::path &partial, const Snapshot &s) {
  const TensorOffsets offsets = write_hdf5(partial / kStateFile, s.sections);
  const Sums sums = fill_and_sum(partial / kStateFile, s.sections, offsets, s.state_hash.empty());
  sync(partial / kStateFile);
  const FileSum sum = sum_of(partial / kStateFile);
  write_texts(partial, s);
  write_sealed(partial,
               make_manifest(s,
                             s.state_hash.empty() ? fold(s.sections, {sums.blocks}) : s.state_hash,
                             sum, offsets, sums));
  return sum.bytes;
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
    return std::ranges::all_of(manifest.states, [&](const auto &file) {
      return fs::file_size(directory / file.first) == file.second.bytes;
    });
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

// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <exception>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/hash.hpp"
#include "base/log.hpp"
#include "checkpoint/hdf5_file.hpp"
#include "checkpoint/manifest.hpp"
#include "checkpoint/places.hpp"

namespace checkpoint {

namespace fs = std::filesystem;
using base::Exit, base::UserError;

namespace {

void sync_file(const fs::path &path) {
  const int descriptor = open(path.c_str(), O_RDONLY);
  if (descriptor < 0 || fsync(descriptor) != 0) {
    if (descriptor >= 0) close(descriptor);
    throw UserError(Exit::checkpoint, "E201", path.string(), "cannot be brought to the disk",
                    "check the file system; earlier checkpoints are intact");
  }
  close(descriptor);
}

// All that belongs to one step, sealed at the end.
std::uint64_t write_step(const fs::path &directory, const Snapshot &s) {
  const fs::path place = directory / step_name(s.step),
                 partial = directory / (step_name(s.step) + ".partial");
  try {
    fs::remove_all(partial);
    fs::create_directories(partial);
    const TensorOffsets offsets = write_hdf5(partial / kStateFile, s.sections);
    sync_file(partial / kStateFile);
    const FileSum sum = sum_of(partial / kStateFile);
    const std::string manifest = make_manifest(s, sum, offsets).dump(1) + "\n";
    if (!s.tokenizer.empty())
      base::write_file_atomic(partial / "tokenizer.json", s.tokenizer, Exit::checkpoint, "E201");
    base::write_file_atomic(partial / "deck.toml", s.deck, Exit::checkpoint, "E201");
    base::write_file_atomic(partial / kManifestFile, manifest, Exit::checkpoint, "E201");
    base::sync_directory(partial);
    fs::remove_all(place); // an unfinished or superseded one of the same step
    fs::rename(partial, place);
    base::sync_directory(directory);
    base::write_file_atomic(place / kDoneFile, seal_of(manifest), Exit::checkpoint, "E201");
    base::sync_directory(place);
    return sum.bytes;
  } catch (const Hdf5Failure &error) {
    fs::remove_all(partial);
    throw UserError(Exit::checkpoint, "E201", partial.string(), error.what(),
                    "free some space or check permissions; earlier checkpoints are intact");
  } catch (const fs::filesystem_error &error) {
    throw UserError(Exit::checkpoint, "E201", error.path1().string(), error.code().message(),
                    "free some space or check permissions; earlier checkpoints are intact");
  }
}

// Removes what the rule does not keep: finished ones only, oldest first, never the newest.
void retire(const WriterOptions &options) {
  const auto all = Reader::list(options.directory);
  const auto count = static_cast<std::int64_t>(all.size());
  for (std::int64_t i = 0; i + options.keep_last < count; ++i) {
    const auto &directory = all[static_cast<std::size_t>(i)];
    if (options.keep_every > 0 && *step_of(directory) % options.keep_every == 0) continue;
    std::error_code error;
    fs::remove(directory / kDoneFile,
               error); // unsealed first: a half-removed directory is never taken for a checkpoint
    fs::remove_all(directory, error);
    if (error)
      base::log::warn("old checkpoint {} cannot be removed: {}", directory.string(),
                      error.message());
  }
}

} // namespace

struct Writer::Impl {
  WriterOptions options;
  std::thread thread;
  std::atomic<bool> busy{false};
  std::exception_ptr failure;
  double seconds = 0;
  std::uint64_t bytes = 0;

  void join() {
    if (thread.joinable()) thread.join();
  }
  void work(const Snapshot &snapshot) noexcept {
    const base::Stopwatch watch;
    try {
      bytes = write_step(options.directory, snapshot);
      retire(options);
    } catch (...) {
      failure = std::current_exception();
    }
    seconds = watch.seconds();
    busy = false;
  }
};

Writer::Writer(WriterOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = std::move(options);
  std::error_code error;
  for (const auto &entry : fs::directory_iterator(impl_->options.directory, error))
    if (entry.path().extension() == ".partial" &&
        entry.path().filename().string().rfind("step-", 0) == 0)
      fs::remove_all(entry.path(), error); // of a run that was killed
}

Writer::~Writer() { impl_->join(); }

void Writer::start(Snapshot snapshot) {
  wait();
  impl_->busy = true;
  impl_->thread = std::thread([impl = impl_.get(), s = std::move(snapshot)] { impl->work(s); });
}

bool Writer::busy() const { return impl_->busy; }

void Writer::wait() {
  impl_->join();
  if (impl_->failure) std::rethrow_exception(std::exchange(impl_->failure, nullptr));
}

double Writer::last_seconds() const { return impl_->busy ? 0 : impl_->seconds; }
std::uint64_t Writer::last_bytes() const { return impl_->busy ? 0 : impl_->bytes; }

} // namespace checkpoint

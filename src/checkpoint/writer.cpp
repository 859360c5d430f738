// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <csignal>
#include <exception>
#include <set>
#include <thread>

#include <fmt/format.h>

#include "base/clock.hpp"
#include "base/log.hpp"
#include "checkpoint/publish.hpp"
#include "checkpoint/together.hpp"

namespace checkpoint {

namespace {

// While it lives, threads that are started take no signals: those of the run are the main thread's
// affair, and SIGXFSZ (a limit on file sizes) becomes an error of the write.
class SignalsBlocked {
public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked &) = delete;

private:
  sigset_t before_;
};

// Names are unique and none is a path: faults of the program, not of the disk.
void check_names(const Snapshot &snapshot, bool pieces) {
  HADAL_CHECK(snapshot.step >= 0, "step {}", snapshot.step);
  for (const auto &[name, content] : snapshot.companions)
    HADAL_CHECK(std::find(std::begin(kCompanions), std::end(kCompanions), name) !=
                    std::end(kCompanions),
                "companion {}", name);
  std::set<std::string> sections;
  for (const Section &section : snapshot.sections) {
    const auto usable = [](const std::string &name) {
      return !name.empty() && name != "." && name.find('/') == std::string::npos;
    };
    HADAL_CHECK(usable(section.name) && sections.insert(section.name).second, "section {}",
                section.name);
    HADAL_CHECK(section.scalars.is_object(), "section {}", section.name);
    std::set<std::string> items;
    for (const Item &item : section.items) {
      HADAL_CHECK(usable(item.name) && (items.insert(item.name).second || pieces), "{}/{}",
                  section.name, item.name);
      HADAL_CHECK(item.data != nullptr || item.produce || item.size() == 0, "{}/{}", section.name,
                  item.name);
    }
  }
}

} // namespace

struct Writer::Impl {
  explicit Impl(WriterOptions o) : options(std::move(o)), keeper(options) {
    options.abandoned = &abandoned;
  }
  std::atomic<bool> abandoned{false};
  const int exceptions = std::uncaught_exceptions();
  WriterOptions options;
  Keeper keeper;
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
      bytes = in_parts(options, snapshot) ? publish_part(options, snapshot)
                                          : publish(options.directory, snapshot);
      if (options.writer == 0) keeper.retire(snapshot.step);
    } catch (...) {
      failure = std::current_exception();
    }
    seconds = watch.seconds();
    busy = false;
  }
};

Writer::Writer(WriterOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {
  if (impl_->options.writer == 0) remove_partial(impl_->options.directory);
}

Writer::~Writer() {
  impl_->abandoned = std::uncaught_exceptions() > impl_->exceptions;
  try {
    wait();
  } catch (const std::exception &error) {
    base::log::error("{}", error.what()); // nobody asked: at least it is said
  }
}

void Writer::start(Snapshot snapshot) {
  wait();
  const bool pieces = in_parts(impl_->options, snapshot);
  if (pieces)
    check_parts(impl_->options, snapshot);
  else if (!snapshot.whole.empty())
    snapshot.sections = joined(snapshot);
  check_names(snapshot, pieces);
  impl_->busy = true;
  const SignalsBlocked blocked;
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

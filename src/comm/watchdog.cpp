// SPDX-License-Identifier: Apache-2.0
#include "comm/watchdog.hpp"

#include <csignal>
#include <cstdlib>

#include <pthread.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/log.hpp"

namespace comm {
namespace {

constexpr double kRound = 0.05; // seconds between two looks
constexpr double kPatience =
    5.0; // seconds that a wait may be over its limit before the process is ended from here

} // namespace

Watchdog::Watchdog(std::shared_ptr<Terms> terms, std::string name, int parent)
    : terms_(std::move(terms)), name_(std::move(name)), parent_(parent) {
  // Signals belong to the thread that communicates.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { watch(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  end_.notify_one();
  thread_.join();
}

void Watchdog::watch() {
  std::unique_lock lock(mutex_);
  while (!end_.wait_for(lock, std::chrono::duration<double>(kRound), [this] { return over_; }))
    look();
}

// Time is counted in rounds, not by the clock: a process that was stopped for a while (SIGSTOP) has not waited.
void Watchdog::look() {
  if (parent_ && getppid() != parent_ && !terms_->stopped()) {
    base::log::error("{}: the launcher is gone", name_);
    terms_->ask_to_stop();
  }
  const bool stopped = terms_->stopped();
  const auto wait = terms_->wait_now();
  asked_ = stopped ? asked_ + kRound : 0;
  // A wait of ours tells by itself; one inside the library (its start, its end) cannot.
  if (stopped && asked_ >= (wait.open ? 2 : 1) * terms_->stop_log() && terms_->first_to_tell()) {
    if (wait.open)
      base::log::warn("{}: asked to stop; waiting {}", name_, wait.text);
    else
      base::log::warn("{}: asked to stop while it was not waiting; the last message was of: {}",
                      name_, terms_->last_operation());
  }
  const double waited = std::chrono::duration<double>(Terms::Clock::now() - wait.since).count();
  stuck_ = wait.open && (waited > wait.limit || stopped) ? stuck_ + kRound : 0;
  if (stuck_ < kPatience + (stopped ? terms_->stop_grace() : 0)) return;
  base::log::error("{}: stuck for {:.1f} s in the communication library {}; the process is ended",
                   name_, waited, wait.text);
  base::log::flush();
  std::_Exit(static_cast<int>(base::Exit::machine));
}

} // namespace comm

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The terms under which one rank waits, shared by all its communicators: how long, and what ends a wait early.
// Also what a watchdog thread may read: the wait that is open, and the last operation that was begun.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "comm/traffic.hpp"

namespace comm {

// What a message belongs to. The text must outlive the program's messages: a literal.
struct What {
  const char *operation = "message";
  long micro_batch = -1; // -1: belongs to none
};

struct Options {
  double deadline = 600;   // seconds that a wait may last
  double stop_log = 0.2;   // seconds from a stop seen in a wait to its diagnosis in the log
  double stop_grace = 0.5; // ... to the end of the wait (Overdue)
  std::size_t piece_bytes = std::size_t(1)
                            << 30; // longer messages go in pieces (MPI counts in int)
};

class Terms {
public:
  using Clock = std::chrono::steady_clock;
  explicit Terms(Options options = {}) : options_(options) {}

  const Options &options() const { return options_; }
  void set_options(const Options &options); // by the thread that communicates
  // Of the options, for another thread.
  double stop_log() const;
  double stop_grace() const;

  // True from `stop`, or after ask_to_stop(): the launcher wants this process to end. Called from two threads.
  void stop_when(std::function<bool()> stop);
  void ask_to_stop() { asked_ = true; }
  bool stopped() const;
  // True for the first caller only: the log needs one diagnosis of a stop.
  bool first_to_tell() { return !told_.exchange(true); }

  // By world rank; empty where nobody gathered them.
  std::vector<std::string> nodes;
  // More ranks on this node than it has processors, or unknown: who waits soon leaves the processor to the others.
  bool crowded = true;
  Traffic traffic; // by the thread that communicates

  // Some wait of this process ended because of a stop: the others know of it by themselves.
  static void stopped_in_vain() { in_vain = true; }
  static bool has_stopped_in_vain() { return in_vain; }

  void began(const What &what);
  std::string last_operation() const;

  // The open wait. Text and limit are published once it is worth telling; closing forgets them.
  struct Wait {
    std::string text;
    Clock::time_point since;
    double limit = 0; // seconds
    bool open = false;
  };
  void open_wait(std::string text, Clock::time_point since, double limit);
  void close_wait();
  Wait wait_now() const;

private:
  static inline std::atomic<bool> in_vain{false};
  Options options_;
  mutable std::mutex mutex_;
  std::function<bool()> stop_;
  std::atomic<bool> asked_{false}, told_{false};
  std::atomic<const char *> operation_{nullptr};
  std::atomic<long> micro_batch_{-1};
  Wait wait_;
};

} // namespace comm

// SPDX-License-Identifier: Apache-2.0
#include "comm/request.hpp"

#include <thread>

#include <sched.h>

#include "base/log.hpp"

namespace comm {
namespace {

using Clock = Terms::Clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string describe(const Pending &pending) {
  const Envelope &e = pending.envelope();
  std::string text = fmt::format("to {} {}: {}", e.sending ? "send to" : "receive from",
                                 pending.place().name(e.peer), e.what.operation);
  if (e.what.micro_batch >= 0) text += fmt::format(", micro-batch {}", e.what.micro_batch);
  return text +
         fmt::format(", tag {}, {} of {} bytes outstanding", e.tag, pending.outstanding(), e.bytes);
}

// The open requests, the first few in words.
std::string describe(std::span<const Request> requests) {
  constexpr int kTold = 4;
  int open = 0;
  std::string text;
  for (const Request &request : requests)
    if (!request.done() && open++ < kTold)
      text += (open > 1 ? "\n" : "") + describe(*request.pending());
  if (open > kTold) text += fmt::format("\nand {} more messages", open - kTold);
  return text;
}

// One wait: pauses between polls, publishes itself to the watchdog, and ends in Overdue.
class Patience {
public:
  Patience(std::span<const Request> requests, std::shared_ptr<const Place> place)
      : requests_(requests), place_(std::move(place)), terms_(*place_->terms) {}
  ~Patience() {
    if (published_) terms_.close_wait();
  }
  Patience(const Patience &) = delete;

  void pause() {
    const double waited = seconds_since(begin_);
    const Options &options = terms_.options();
    if (waited > options.deadline) throw overdue(waited, false);
    if (!published_ && waited > 0.2) {
      terms_.open_wait(describe(requests_), begin_, options.deadline);
      published_ = true;
    }
    if (waited > 0.001) heed_stop(waited);
    // Ranks may share a core: first the processor is offered to the others, later left to them. Where each has its own, later means that the
    // peer computes: a message through shared memory moves on in small pieces, and sleeping at each would halve its rate.
    if (waited < (terms_.crowded ? 0.001 : 0.02))
      sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(waited < 0.1 ? 30 : 300));
  }

private:
  void heed_stop(double waited) {
    if (!terms_.stopped()) return;
    if (!stopping_) stopping_ = true, stopped_ = Clock::now();
    const double since = seconds_since(stopped_);
    if (since >= terms_.options().stop_log && terms_.first_to_tell())
      base::log::warn("{}: asked to stop; waiting {:.1f} s {}", place_->name(place_->rank), waited,
                      describe(requests_));
    if (since < terms_.options().stop_grace) return;
    Terms::stopped_in_vain();
    throw overdue(waited, true);
  }

  Overdue overdue(double waited, bool stopped) const {
    const char *advice =
        stopped ? "The process was asked to stop (SIGTERM, or its launcher is gone) and the peer "
                  "has not come: look for\nthe rank that ended first. No checkpoint is begun; "
                  "restart from the newest one."
                : "The peer has ended, hangs, or is slower than the deadline. The rank that wrote "
                  "no such line is the first to\nlook at; a longer parallel.deadline helps only "
                  "when it was slow.";
    return Overdue(base::Exit::machine, stopped ? "E079" : "E078", place_->name(place_->rank),
                   fmt::format("waited {:.1f} s {}", waited, describe(requests_)), advice);
  }

  std::span<const Request> requests_;
  std::shared_ptr<const Place> place_; // the request that lent it may be done before the others
  Terms &terms_;
  Clock::time_point begin_ = Clock::now(), stopped_;
  bool published_ = false, stopping_ = false;
};

} // namespace

std::string Place::name(int of) const {
  const auto index = static_cast<std::size_t>(of);
  std::string text = fmt::format("rank {} of axis {}", of, axis);
  if (index >= world_ranks.size()) return text;
  const int world = world_ranks[index];
  text += fmt::format(" (world rank {}", world);
  if (static_cast<std::size_t>(world) < terms->nodes.size())
    text += ", node " + terms->nodes[static_cast<std::size_t>(world)];
  return text + ")";
}

bool test(Request &request) {
  if (request.pending_ && request.pending_->poll()) request.pending_.reset();
  return request.done();
}

void wait(Request &request) { wait_all({&request, 1}); }

void wait_all(std::span<Request> requests) {
  const auto all_done = [&] {
    bool done = true;
    for (Request &request : requests) done = test(request) && done;
    return done;
  };
  if (all_done()) return;
  std::shared_ptr<const Place> place;
  for (const Request &request : requests)
    if (!place && !request.done()) place = request.pending()->shared_place();
  Patience patience(requests, std::move(place));
  do patience.pause();
  while (!all_done());
}

} // namespace comm

// SPDX-License-Identifier: Apache-2.0
#include "comm/session.hpp"

#include <csignal>
#include <cstdlib>
#include <thread>

#include <unistd.h>

#include "base/log.hpp"
#include "comm/loopback/loopback.hpp"
#ifdef HADAL_HAS_MPI
#include "comm/mpi/mpi.hpp"
#endif

namespace comm {
namespace {

volatile std::sig_atomic_t terminated = 0;

void note(int) { terminated = 1; }

std::unique_ptr<Communicator> parallel_world([[maybe_unused]] std::shared_ptr<Terms> terms,
                                             const Launch &launch) {
#ifdef HADAL_HAS_MPI
  static_cast<void>(launch);
  return mpi::initialize(std::move(terms));
#else
  if (launch.ranks == 1) return loopback::alone(std::move(terms));
  throw base::UserError(base::Exit::machine, "E082", launch.by,
                        fmt::format("{} ranks, and this program was built without MPI",
                                    launch.ranks > 0 ? std::to_string(launch.ranks) : "several"),
                        "Build it with HADAL_MPI=ON (cmake tells whether MPI was found), or start "
                        "it without a launcher.");
#endif
}

} // namespace

Session::Session(const Options &options)
    : launch_(find_launch()), terms_(std::make_shared<Terms>(options)) {
  if (!launch_.parallel) {
    world_ = loopback::alone(terms_);
    return;
  }
  catch_sigterm();
  arrange_stop({});
  // The watchdog looks after the start as well: a rank that never comes is found there.
  terms_->open_wait("for MPI_Init", Terms::Clock::now(), options.deadline);
  watchdog_ = std::make_unique<Watchdog>(terms_, fmt::format("process {}", getpid()), getppid());
  world_ = parallel_world(terms_, launch_);
  terms_->close_wait();
  watchdog_.reset();
  watchdog_ = std::make_unique<Watchdog>(terms_, world_->place().name(world_->rank()), getppid());
}

Session::~Session() {
  watchdog_.reset();
  if (caught_) std::signal(SIGTERM, SIG_DFL);
}

// Only where nobody else handles it: a run has handlers of its own, which come later and report by stop_when.
void Session::catch_sigterm() {
  struct sigaction now = {};
  sigaction(SIGTERM, nullptr, &now);
  if (now.sa_handler != SIG_DFL) return;
  struct sigaction action = {};
  action.sa_handler = note;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  caught_ = sigaction(SIGTERM, &action, nullptr) == 0;
}

void Session::stop_when(std::function<bool()> stop) { arrange_stop(std::move(stop)); }

void Session::arrange_stop(std::function<bool()> other) {
  terms_->stop_when([other = std::move(other)] { return terminated != 0 || (other && other()); });
}

void Session::finish() {
  if (!launch_.parallel) return;
  world_->barrier({"end of the run"});
  world_.reset();
#ifdef HADAL_HAS_MPI
  terms_->open_wait("for MPI_Finalize", Terms::Clock::now(), terms_->options().deadline);
  mpi::finalize();
  terms_->close_wait();
#endif
  watchdog_.reset();
  world_ = loopback::alone(terms_);
}

void abort_all(int code, double grace) {
  base::log::flush();
  if (terminated || Terms::has_stopped_in_vain()) std::_Exit(code); // all are being ended
#ifdef HADAL_HAS_MPI
  if (mpi::initialized()) {
    std::this_thread::sleep_for(std::chrono::duration<double>(grace));
    // The library may hang on a lost peer as well.
    std::thread([code] {
      std::this_thread::sleep_for(std::chrono::seconds(5));
      std::_Exit(code);
    }).detach();
    mpi::abort(code);
  }
#endif
  static_cast<void>(grace);
  std::_Exit(code);
}

} // namespace comm

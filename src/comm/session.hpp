// SPDX-License-Identifier: Apache-2.0
#pragma once
// Communication of one process, from the start of the program to its end. MPI is initialised only when a launcher started
// this process; otherwise the world is this rank alone.
//
//   comm::Session session;             // before Kokkos
//   try { work(session.world()); session.finish(); }
//   catch (error) { log it; comm::abort_all(code); }
#include <memory>

#include "comm/communicator.hpp"
#include "comm/launcher.hpp"
#include "comm/watchdog.hpp"

namespace comm {

class Session {
public:
  explicit Session(const Options &options = {});
  // Without finish() MPI is left as it is: others may be gone, and MPI_Finalize would wait for them.
  ~Session();
  Session(const Session &) = delete;

  Communicator &world() { return *world_; }
  const std::shared_ptr<Terms> &terms() const { return terms_; }
  bool parallel() const { return launch_.parallel; }
  const Launch &launch() const { return launch_; }
  // Errors that all ranks find alike are told once.
  bool speaks() const { return world_->rank() == 0; }

  void set_options(const Options &options) { terms_->set_options(options); }
  // Asked beside the session's own SIGTERM; it is called from two threads and must only read. Null takes it back.
  void stop_when(std::function<bool()> stop);
  // The orderly end: all ranks meet, MPI is finalised.
  void finish();

private:
  void catch_sigterm();
  void arrange_stop(std::function<bool()> other);

  Launch launch_;
  std::shared_ptr<Terms> terms_;
  std::unique_ptr<Communicator> world_;
  std::unique_ptr<Watchdog> watchdog_;
  bool caught_ = false;
};

// Ends all processes of the run after `grace` seconds, in which those that wait in vain log their own diagnosis. The
// launcher's exit code is `code` where it can be.
[[noreturn]] void abort_all(int code, double grace = 1.0);

} // namespace comm

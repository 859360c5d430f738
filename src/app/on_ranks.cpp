// SPDX-License-Identifier: Apache-2.0
#include "app/on_ranks.hpp"

#include <chrono>
#include <thread>

#include "app/kokkos_session.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/session.hpp"

namespace app {

int on_ranks(const std::function<int(comm::Communicator &world)> &work) {
  comm::Session session;
  int code = 0;
  try {
    const KokkosSession kokkos; // lives inside the session of MPI
    code = work(session.world());
  } catch (const std::exception &error) {
    if (!session.parallel()) throw;
    const auto *fault = dynamic_cast<const base::UserError *>(&error);
    // What all ranks find is told by the first; the others speak when it has had its time.
    if (!session.speaks()) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    base::log::error("rank {}: {}", session.world().rank(), error.what());
    base::log::flush();
    comm::abort_all(static_cast<int>(fault ? fault->code() : base::Exit::fault));
  }
  session.finish();
  return code;
}

} // namespace app

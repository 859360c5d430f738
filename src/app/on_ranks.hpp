// SPDX-License-Identifier: Apache-2.0
#pragma once
// Work of all ranks that a launcher started, or of this process alone: MPI, then Kokkos, the work, and the orderly end.
#include <functional>

#include "comm/communicator.hpp"

namespace app {

// The exit code of the work. A fault of one rank ends all: those that wait for it tell what they waited for.
int on_ranks(const std::function<int(comm::Communicator &world)> &work);

} // namespace app

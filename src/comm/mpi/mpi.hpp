// SPDX-License-Identifier: Apache-2.0
#pragma once
// Communicators over MPI. Only the thread that initialised MPI calls it (MPI_THREAD_FUNNELED). MPI's own collective
// operations and sums are not used: their order belongs to the library, and they wait without a deadline.
#include "comm/communicator.hpp"

namespace comm::mpi {

// MPI_Init_thread; the world with the nodes of all ranks gathered into terms.
std::unique_ptr<Communicator> initialize(std::shared_ptr<Terms> terms);
bool initialized(); // and not finalised
// After a barrier: nobody may be waited for in MPI_Finalize.
void finalize();
[[noreturn]] void abort(int code);
// The library's own, over all ranks: for benches alone (comm/plain.hpp).
void all_to_all_v(const void *send, const Blocks &out, void *receive, const Blocks &in);

} // namespace comm::mpi

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal bench dispatch: the trainer's dispatch and combine, gathering and adding included, against the message library's own
// MPI_Alltoallv of the same bytes, on all ranks of the launcher as one expert group.
#include <string>

#include "comm/communicator.hpp"
#include "tensor/context.hpp"

namespace layers::dispatch {

struct BenchRequest {
  std::int64_t tokens = 4096; // of each rank
  int rounds = 9;
};
// A table of f32 and bf16; the same text on all ranks. Every round does all rows in turn, the slowest rank counts; medians.
std::string bench(comm::Communicator &world, const BenchRequest &request);

} // namespace layers::dispatch

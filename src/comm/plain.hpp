// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the message library itself makes of the same bytes: the limit that a bench refers to. Not for runs: no deadline, no diagnosis.
#include "comm/communicator.hpp"

namespace comm {

// MPI_Alltoallv over all ranks of the launcher. False, and nothing done, where MPI was not started. A block is at most 2 GiB.
bool plain_all_to_all_v(const void *send, const Blocks &out, void *receive, const Blocks &in);

} // namespace comm

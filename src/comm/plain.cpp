// SPDX-License-Identifier: Apache-2.0
#include "comm/plain.hpp"

#ifdef HADAL_HAS_MPI
#include "comm/mpi/mpi.hpp"
#endif

namespace comm {

bool plain_all_to_all_v([[maybe_unused]] const void *send, [[maybe_unused]] const Blocks &out,
                        [[maybe_unused]] void *receive, [[maybe_unused]] const Blocks &in) {
#ifdef HADAL_HAS_MPI
  if (mpi::initialized()) {
    mpi::all_to_all_v(send, out, receive, in);
    return true;
  }
#endif
  return false;
}

} // namespace comm

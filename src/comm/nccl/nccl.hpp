// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages between GPUs by NCCL, on a stream of their own: pointers are device memory. Barriers, splits and small values go
// over the communicator of the host, which also brings the peers together. Compiled and linked with HADAL_NCCL; run where
// there is a GPU (docs/machines.md).
#include "comm/communicator.hpp"

namespace comm::nccl {

// Of all ranks of `host` together, each with its device set. `host` must outlive what is returned.
std::unique_ptr<Communicator> over(Communicator &host);

} // namespace comm::nccl

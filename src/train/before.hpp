// SPDX-License-Identifier: Apache-2.0
#pragma once
// What must be true before a run takes memory or touches a disk.
#include "train/owned.hpp"

namespace train {

// As many ranks as the deck asks for: E077. Gives the options back.
const Options &require_ranks(const Options &options, const comm::Communicator &world);

// What the ranks of this machine will need fits into what it has free: E076. Together on all ranks.
template <class A>
void require_memory(const Options &options, const Ranks &ranks, const model::Layout &layout);

} // namespace train

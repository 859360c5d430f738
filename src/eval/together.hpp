// SPDX-License-Identifier: Apache-2.0
#pragma once
// An evaluation on many ranks: rank 0 reads, asks, judges and writes; the model's ranks answer together.
#include <functional>

#include "comm/communicator.hpp"
#include "eval/model.hpp"

namespace eval {

// Called by all ranks of the world with their part of one model. `work` is done by rank 0 with a model that hands every request on to all
// ranks; the others answer until it has ended. They wait for the next request as long as the work takes (programs may be judged
// meanwhile), and end early when they are asked to stop (E079). A UserError of any of them is thrown on all.
void together(comm::Communicator &world, Model &mine, const std::function<void(Model &)> &work);

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Communicators inside one process: a run of one rank, and for tests several virtual ranks, a thread each. Messages up to
// kEager bytes are copied when they are sent; longer ones wait for their receiver, as with MPI, so that a program that
// relies on buffering is caught.
#include <functional>

#include "comm/communicator.hpp"

namespace comm::loopback {

inline constexpr std::size_t kEager = 4096;

// The only rank of its world.
std::unique_ptr<Communicator> alone(std::shared_ptr<Terms> terms,
                                    const std::string &axis = "world");

// f as each of n ranks. When one throws, the others are asked to stop, as a launcher does; the first error that is no
// Overdue is thrown again, else the first.
void run(int ranks, const Options &options, const std::function<void(Communicator &world)> &f);

} // namespace comm::loopback

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Every pair of ranks exchanges messages with known contents: part of `hadal selftest`. In round k the partners are those with
// rank + partner = k (mod ranks), so each rank has one partner a round and all pairs are done after `ranks` rounds.
#include "comm/communicator.hpp"

namespace comm {

struct PairsOptions {
  std::uint64_t seed = 1;                   // of the contents; the same on all ranks
  std::size_t bytes = std::size_t(1) << 20; // of a large message, in each direction at once
  int pings = 20;                           // small messages to and fro; the fastest counts
};

// What one rank found. Peers are -1 where there was no other rank.
struct PairsReport {
  int slowest_peer = -1, narrowest_peer = -1, wrong_peer = -1;
  double latency = 0;     // seconds, one way, with the slowest peer
  double bandwidth = 0;   // bytes a second in each direction, with the narrowest peer
  double clock = 0;       // seconds that this rank's system clock is ahead of rank 0's
  int wrong_messages = 0; // messages that arrived with other contents
};

PairsReport check_pairs(Communicator &world, const PairsOptions &options = {});

} // namespace comm

// SPDX-License-Identifier: Apache-2.0
#include "comm/pairs.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>

#include "base/clock.hpp"

namespace comm {
namespace {

constexpr int kTag = 1, kRepeats = 3;
constexpr What kPing{"self-test, small messages"}, kLarge{"self-test, large messages"};

double system_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Word w of the message from one rank to another: a bit mixer, so that no two words are alike.
std::uint64_t word(std::uint64_t seed, int from, int to, std::size_t w) {
  std::uint64_t x = seed + static_cast<std::uint64_t>(from) * 0x9E3779B97F4A7C15U +
                    static_cast<std::uint64_t>(to) * 0xC2B2AE3D27D4EB4FU + w * 0xD6E8FEB86659FD93U;
  x = (x ^ (x >> 32)) * 0xD6E8FEB86659FD93U;
  return x ^ (x >> 29);
}

struct Ping {
  double seconds = std::numeric_limits<double>::infinity(); // one way
  double clock = 0;                                         // the higher rank's minus the lower's
};

// The lower rank measures and tells the higher one. The clock is that of the fastest round trip: its error is within half of it.
Ping exchange_pings(Communicator &world, int peer, int pings) {
  Ping best;
  double time = 0;
  if (world.rank() < peer) {
    for (int i = 0; i < pings; ++i) {
      const double before = system_seconds();
      const base::Stopwatch watch;
      world.send(peer, kTag, &before, sizeof before, kPing);
      world.recv(peer, kTag, &time, sizeof time, kPing);
      const double there_and_back = watch.seconds();
      if (there_and_back / 2 < best.seconds)
        best = {there_and_back / 2, time - (before + there_and_back / 2)};
    }
    world.send(peer, kTag, &best, sizeof best, kPing);
  } else {
    for (int i = 0; i < pings; ++i) {
      world.recv(peer, kTag, &time, sizeof time, kPing);
      const double now = system_seconds();
      world.send(peer, kTag, &now, sizeof now, kPing);
    }
    world.recv(peer, kTag, &best, sizeof best, kPing);
  }
  return best;
}

struct Exchange {
  double bandwidth = 0;
  int wrong = 0;
};

Exchange exchange_large(Communicator &world, int peer, const PairsOptions &o,
                        std::vector<std::uint64_t> &out, std::vector<std::uint64_t> &in) {
  Exchange result;
  const std::size_t words = out.size(), bytes = words * sizeof(std::uint64_t);
  for (std::size_t w = 0; w < words; ++w) out[w] = word(o.seed, world.rank(), peer, w);
  for (int i = 0; i < kRepeats; ++i) {
    std::fill(in.begin(), in.end(), 0);
    const base::Stopwatch watch;
    std::array<Request, 2> both = {world.irecv(peer, kTag, in.data(), bytes, kLarge),
                                   world.isend(peer, kTag, out.data(), bytes, kLarge)};
    wait_all(both);
    result.bandwidth = std::max(result.bandwidth, static_cast<double>(bytes) / watch.seconds());
    bool same = true;
    for (std::size_t w = 0; w < words; ++w) same &= in[w] == word(o.seed, peer, world.rank(), w);
    result.wrong += !same;
  }
  return result;
}

} // namespace

PairsReport check_pairs(Communicator &world, const PairsOptions &options) {
  PairsReport report;
  const int n = world.size();
  std::vector<std::uint64_t> out(options.bytes / sizeof(std::uint64_t)), in(out.size());
  for (int round = 0; round < n; ++round) {
    const int peer = (round - world.rank() + n) % n;
    if (peer == world.rank()) continue;
    const Ping ping = exchange_pings(world, peer, options.pings);
    if (peer == 0) report.clock = ping.clock;
    if (report.slowest_peer < 0 || ping.seconds > report.latency)
      report.slowest_peer = peer, report.latency = ping.seconds;
    const Exchange large = exchange_large(world, peer, options, out, in);
    if (report.narrowest_peer < 0 || large.bandwidth < report.bandwidth)
      report.narrowest_peer = peer, report.bandwidth = large.bandwidth;
    if (large.wrong > 0 && report.wrong_peer < 0) report.wrong_peer = peer;
    report.wrong_messages += large.wrong;
  }
  return report;
}

} // namespace comm

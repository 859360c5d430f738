// SPDX-License-Identifier: Apache-2.0
// All pairs of ranks, as `hadal selftest` checks them.
#ifndef HADAL_CONTRACT_NCCL // its memory is the host's
#include "comm/pairs.hpp"

#include "tests/parallel/contract/bodies.hpp"

namespace {

using namespace contract;
using comm::Communicator;

TEST(Pairs, EveryPairIsMeasured) {
  on_all_bodies([](Communicator &c) {
    const auto report = comm::check_pairs(c, {1, 10000, 5});
    EXPECT_EQ(report.wrong_messages, 0);
    EXPECT_EQ(report.wrong_peer, -1);
    if (c.size() == 1) {
      EXPECT_EQ(report.slowest_peer, -1);
      return;
    }
    for (const int peer : {report.slowest_peer, report.narrowest_peer}) {
      EXPECT_TRUE(peer >= 0 && peer < c.size()) << peer;
      EXPECT_NE(peer, c.rank());
    }
    EXPECT_GT(report.latency, 0);
    EXPECT_LT(report.latency, 5);
    EXPECT_GT(report.bandwidth, 0);
    EXPECT_LT(std::abs(report.clock), 5) << "one machine has one clock";
  });
}

// The last rank expects and sends other contents: every other rank names it, and it names all.
TEST(Pairs, OtherContentsAreNamed) {
  on_all_bodies([](Communicator &c) {
    if (c.size() == 1) return;
    const int odd = c.size() - 1;
    const auto report = comm::check_pairs(c, {c.rank() == odd ? 2U : 1U, 10000, 1});
    if (c.rank() == odd)
      EXPECT_EQ(report.wrong_messages, 3 * odd);
    else
      EXPECT_EQ(report.wrong_peer, odd);
    EXPECT_EQ(report.wrong_messages > 3, c.rank() == odd && odd > 1);
  });
}

} // namespace
#endif

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal selftest: what each rank found, and the judgement over all of them, which needs no ranks.
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "comm/pairs.hpp"

namespace app {

// One rank's findings, as bytes that can be sent.
struct SelftestReport {
  int threads = 0;
  std::int64_t memory_free = 0; // bytes, of the node
  double gemm = 0;              // FLOP/s of a large float product, all ranks at once
  int rows_compared = 0, rows_differing = 0;
  base::Hash128 hash;                   // of a fixed computation
  double write_rate = 0, read_rate = 0; // bytes a second
  comm::PairsReport pairs;
  char cpu[96] = {}, body[48] = {};
  char rows_first[192] = {}; // the first product whose rows differ
  char disk_fault[512] = {}; // empty: none
};

struct SelftestFault {
  std::string number, node, check, text;
};

struct SelftestVerdict {
  std::vector<std::string> lines; // one a node and check
  std::vector<SelftestFault> faults;
  int warnings = 0;
};

// reports and nodes by rank. A rank slower than `slowest` of the median of the GEMM rates is a fault (0: never).
SelftestVerdict judge_selftest(const std::vector<SelftestReport> &reports,
                               const std::vector<std::string> &nodes, const std::string &directory,
                               double slowest = 0);

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal bench train: steps of the trainer on random tokens, on one rank or many; the share of the GEMM peak that all ranks reach at the
// same time in the same processes, a breakdown by kernel, planned beside measured memory. Rank 0 has the text; the others get "".
#include <string>
#include <vector>

#include "comm/communicator.hpp"
#include "train/options.hpp"

namespace train {

struct BenchRequest {
  Options options;
  int steps = 3; // timed; one more goes before them
  bool breakdown = true;
};
// The text of the table; prints nothing. Together on all ranks; E077.
std::string bench(const BenchRequest &request, comm::Communicator &world);

// Settings beside each other: all of them in memory at once, a step of each in turn, so that a busy machine hits them alike. A table
// with a row for each; the ratio to the first is the median of the rounds' ratios.
struct BenchRow {
  std::string name;
  Options options;
};
std::string bench_rows(const std::vector<BenchRow> &rows, int rounds, comm::Communicator &world);

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal bench train: steps of the trainer on random tokens; the share of the GEMM peak of the same process, a breakdown by kernel, and
// planned beside measured memory.
#include <string>

#include "train/options.hpp"

namespace train {

struct BenchRequest {
  Options options;
  int steps = 3; // timed; one more goes before them
  bool breakdown = true;
};
// The text of the table; prints nothing.
std::string bench(const BenchRequest &request);

} // namespace train

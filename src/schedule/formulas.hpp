// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the DeepSeek-V3 report states for a schedule, to hold the clock against. PP is the number of stages; BW is the whole
// backward, which the report calls B.
//   1f1b      (PP-1)(F + BW)                 PP activations     1x parameters   PP ranks
//   zb1p      (PP-1)(F + BW - 2W)            PP                 1x              PP
//   dualpipe  (PP/2-1)(F&B + BW - 3W)        PP + 1             2x              PP
//   dualpipev the same                       PP + 1             2x              PP/2
#include <string>

#include "schedule/simulate.hpp"

namespace schedule {

struct Formula {
  std::string text; // of the bubble
  double bubble = 0;
  // The clock gives exactly this bubble, on the rank with the largest one. Found by trying all small whole numbers.
  bool exact = false;
  std::string condition; // under which it is exact
  int activations = 0, parameter_copies = 1, ranks = 1;
};

// stages: all alike.
Formula formula(const Program &program, const StageCosts &costs, double send);

} // namespace schedule

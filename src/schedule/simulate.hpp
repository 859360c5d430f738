// SPDX-License-Identifier: Apache-2.0
#pragma once
// A program on a virtual clock. A computation takes its cost; a message arrives `send` after it was sent and takes no time of
// the ranks; all messages may be under way at once. Costs are in any unit of time.
#include <vector>

#include "schedule/program.hpp"

namespace schedule {

struct StageCosts {
  double forward = 1;
  double backward_input = 1;  // B
  double backward_weight = 1; // W
  double pair = 3;            // F&B: an overlapped F and BW; F + B + W: overlapping wins nothing
};

struct Costs {
  std::vector<StageCosts> stages = {{}}; // one for all, or one for each stage
  double send = 0;

  const StageCosts &of(int stage) const {
    return stages[stages.size() == 1 ? 0 : static_cast<std::size_t>(stage)];
  }
  // The two halves of a pair may lie on different stages: what the smaller of the two savings hides is saved.
  double of(const Program &program, int rank, const Action &action) const;
};

struct Span {
  double begin = 0, end = 0;
  int action = 0; // index in the rank's list
};

struct Timeline {
  double makespan = 0;
  std::vector<std::vector<Span>> spans; // by rank: its computations
  std::vector<double> busy, bubble;     // by rank; together the makespan
  std::vector<double>
      waiting; // by rank: the part of the bubble that is spent waiting inside `receive`
  std::vector<int> peak_activations; // by rank, of one stage each
  int parameter_copies = 1;          // stages held by a rank
  double largest_bubble() const;
  int most_activations() const;
};

// The program must have passed `check`.
Timeline simulate(const Program &program, const Costs &costs);

} // namespace schedule

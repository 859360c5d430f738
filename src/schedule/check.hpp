// SPDX-License-Identifier: Apache-2.0
#pragma once
// Plays all ranks of a program against each other, without computing anything. Found are: actions that wait for ever, with the
// rank and the action that are the cause; F, B or W missing, done twice, or before what they need; W of a stage out of the
// order of its micro-batches (the law of sums); messages that nobody receives, that are not posted, or that two ranks send and
// receive in different orders.
#include <limits>
#include <string>
#include <vector>

#include "schedule/program.hpp"

namespace schedule {

struct Verdict {
  std::vector<std::string> faults; // the cause first
  std::vector<int>
      peak_activations; // by rank: most stages' activations alive at once, from F to the end of W
  bool ok() const { return faults.empty(); }
};

// open_sends: how many messages of one content a rank may have sent to a neighbour that has not posted them yet; beyond that
// its next computation or receive waits. All programs of build() pass with 1 and more; DualPipe and DualPipeV do not with 0,
// as on a transport whose sends wait for the receiver.
inline constexpr int kAnyNumber = std::numeric_limits<int>::max();
Verdict check(const Program &program, int open_sends = kAnyNumber);

} // namespace schedule

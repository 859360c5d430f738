// SPDX-License-Identifier: Apache-2.0
#pragma once
// run.trace: which steps are traced, and the file of each rank, <run.directory>/trace/rank-00000.json. Times count from a barrier before
// the first of them, so that the files of all ranks fit together, whatever the clocks of their nodes show.
#include <string>

#include "model/flights.hpp"
#include "train/ranks.hpp"

namespace train {

class TracedSteps {
public:
  TracedSteps(const Options &options, const Ranks &ranks, model::Flights &flights)
      : options_(options), ranks_(ranks), flights_(flights) {}

  // Before and after each step, on all ranks. The end of the last traced one writes the file (E072, E073).
  void begin();
  void end();
  // At the end of the run, which may have come before the last step that was to be traced.
  void finish();

private:
  void write();
  const Options &options_;
  const Ranks &ranks_;
  model::Flights &flights_;
  base::Trace trace_;
  std::int64_t steps_ = 0; // of this run
  double zero_ = 0, began_ = 0;
  bool written_ = false;
};

// Over all ranks and since the flights' reset: "83 % (experts 85 %, stages 60 %)"; "" where nothing was sent. On all ranks together.
std::string hidden_text(const Ranks &ranks, const model::Flights &flights);

} // namespace train

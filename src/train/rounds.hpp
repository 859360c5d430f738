// SPDX-License-Identifier: Apache-2.0
#pragma once
// A phase whose samples are made by the model itself: before some steps the run stands still and makes those of the next few (a round).
// Within a round the weights have moved on from those that made it, so stops and checkpoints wait for its end.
#include <string>
#include <vector>

#include "train/step.hpp"

namespace train {

template <class A> class Rounds {
public:
  virtual ~Rounds() = default;
  // On all ranks together, while the trainer has the weights of run.init_from; before those of a checkpoint are read.
  virtual void begin(Trainer<A> &trainer) = 0;
  // Before a step: makes the round that the cursor is at, if there is none.
  virtual void before_step(Trainer<A> &trainer, const Counters &counters) = 0;
  // Does a round end where the cursor stands?
  virtual bool complete(const Counters &counters) const = 0;
  // Columns of the history, and what to say of the round and of the step just done.
  virtual std::vector<std::string> columns() const = 0;
  virtual std::vector<std::string> units() const = 0;
  virtual std::vector<double> values(const StepReport &report) const = 0;
  virtual std::string remark() const = 0; // on the console, short
};

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Questions to the model while it is trained (docs/howto/evaluate.md). What is asked is not known here: the program brings an examiner.
// It reads the weights, and nothing that the training depends on changes.
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer.hpp"
#include "model/parameters.hpp"
#include "numerics/bf16.hpp"
#include "train/options.hpp"
#include "train/ranks.hpp"

namespace train {

// The run, as long as it lasts.
struct Examined {
  const Options &options;
  const Ranks &ranks;
  const data::Tokenizer &tokenizer;
  // Small files that travel with the model, by name.
  const std::vector<std::pair<std::string, std::string>> &companions;
  std::int64_t step = 0; // behind which it starts
};

class Examiner {
public:
  virtual ~Examiner() = default;
  // On all ranks together, before the first step. What the questions have wrong is found here.
  virtual void begin(const Examined &run) = 0;
  // On all ranks together, behind a step, with the weights that this rank holds. last: the run has made all its steps.
  virtual void examine(const model::Weights<float> &weights, std::int64_t step, bool last) = 0;
  virtual void examine(const model::Weights<numerics::bf16> &weights, std::int64_t step,
                       bool last) = 0;
};

} // namespace train

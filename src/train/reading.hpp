// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a phase reads, and what follows from it for the length of the run.
//   pretrain, extend   token shards ([data])
//   sft                conversations ([sft]), packed, with loss on what the assistant says
//   reward             pairs of answers to the same question ([pairs])
//   grpo               problems ([grpo]), to which the model gives answers that are rewarded (train/grpo)
#include <memory>
#include <string>
#include <vector>

#include "data/samples.hpp"
#include "train/options.hpp"
#include "train/ranks.hpp"

namespace train {

namespace grpo {
class Answers;
}

struct Reading {
  std::unique_ptr<data::Samples> samples;
  grpo::Answers *answers = nullptr; // the samples, in phase grpo
  std::string tokenizer;            // content of tokenizer.json, for checkpoints
  std::int64_t samples_of_run = 0;  // that train.epochs come to; 0: the deck counts in steps
  std::vector<std::string> remarks; // what was left out, a line each
};

// On all ranks together. Errors of the data's rooms, and E139 (no tokenizer).
Reading open_reading(const Options &options, const Ranks &ranks);
// With train.steps where the deck gives epochs, and the token counts of a rate that is given over the whole run.
Options resolved(Options options, const Reading &reading);

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#pragma once
// [evaluate] in the deck of a training: the tasks are asked of the live weights at intervals and behind the last step
// (docs/howto/evaluate.md).
#include <memory>
#include <optional>

#include "eval/evaluate.hpp"
#include "infer/options.hpp"
#include "sandbox/options.hpp"
#include "train/examiner.hpp"

namespace app {

struct Examination {
  eval::Options options;
  infer::EngineOptions engine; // [infer]
  sandbox::Options sandbox;
};

// Nothing where the deck has no such table; to be called before train::read_options, which wants all tables to be known. Errors: those of
// eval::read_options, and E320 (a key that has no meaning in a run), E268.
std::optional<Examination> read_examination(deck::Deck &deck);
// E319: the phase trains no model that could be asked.
void check_examination(const deck::Deck &deck, const train::Options &run);
// Tasks, files, and whether programs can be run; as far as it can be known without the tokenizer.
std::vector<eval::Prepared> prepare(const Examination &examination);
std::unique_ptr<train::Examiner> make_examiner(const Examination &examination);

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#pragma once
// From problems to samples: what the journal lacks is asked, all answers are rewarded, those that pass are written. Rewards are not in
// the journal: with other rules the same answers are judged anew, and nothing is asked twice.
#include <functional>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"
#include "distil/teacher.hpp"
#include "reward/rules.hpp"

namespace distil {

struct Counts {
  std::string source;
  std::int64_t problems = 0, answers = 0, ended = 0, correct = 0, passed = 0, repeated = 0;
  std::int64_t kept = 0, with_kept = 0;           // questions of which an answer was kept
  double reward = 0, length = 0, kept_length = 0; // sums
};

struct Harvest {
  std::vector<Counts> sources; // and the sum, named "all"
  std::int64_t asked = 0;      // by this start
  std::int64_t repeated_problems = 0;
  bool tokens = false; // are lengths tokens, or bytes?
};

using Say = std::function<void(const std::string &)>;

// tokenizer: counts tokens; may be null. Errors E370 to E378, those of read_problems and of reward::Rules.
Harvest harvest(const Options &options, const reward::Rules &rules, Teacher &teacher,
                const data::Tokenizer *tokenizer, const Say &say);
std::string table(const Harvest &harvest);

} // namespace distil

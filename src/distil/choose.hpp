// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which answers become samples.
#include <set>
#include <string>
#include <vector>

#include "distil/options.hpp"

namespace distil {

struct Candidate {
  std::int64_t sample = 0;
  std::string text;
  std::int64_t length = 0; // tokens, or bytes where tokens are not known
  double reward = 0;
  bool passes = false; // ended, correct, not below the threshold
};

// Runs of white space as one space, none at the ends, ASCII letters small: texts of one normal form are taken for the same.
std::string normalised(std::string_view text);

// Indices into `candidates` (answers to one question) of at most `keep`, the chosen first; of equal ones the earlier sample. An answer
// whose normal form is in `seen` under `question` (a normal form too) is left out and counted; kept ones are put there.
std::vector<std::size_t> choose(const std::vector<Candidate> &candidates, Choose by,
                                std::int64_t keep, const std::string &question,
                                std::set<std::string> &seen, std::int64_t &repeated);

} // namespace distil

// SPDX-License-Identifier: Apache-2.0
#include "reward/majority.hpp"

#include "reward/math_answer.hpp"

namespace reward {

Majority majority(const std::vector<std::string> &answers) {
  // Being the same to nine digits is no equivalence, strictly: an answer joins the first class whose first answer it equals.
  std::vector<std::size_t> heads, votes, of(answers.size(), answers.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (answers[i].empty()) continue;
    std::size_t c = 0;
    while (c < heads.size() && answers[heads[c]] != answers[i] &&
           !same_math(answers[heads[c]], answers[i]))
      ++c;
    if (c == heads.size()) heads.push_back(i), votes.push_back(0);
    ++votes[c], of[i] = c;
  }
  Majority out;
  out.agrees.assign(answers.size(), false);
  if (heads.empty()) return out;
  std::size_t best = 0;
  for (std::size_t c = 1; c < heads.size(); ++c)
    if (votes[c] > votes[best]) best = c;
  out.first = heads[best], out.votes = votes[best];
  for (std::size_t i = 0; i < answers.size(); ++i) out.agrees[i] = of[i] == best;
  return out;
}

} // namespace reward

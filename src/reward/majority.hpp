// SPDX-License-Identifier: Apache-2.0
#pragma once
// Voting: which answer do most of a group give?
#include <cstddef>
#include <string>
#include <vector>

namespace reward {

struct Majority {
  std::size_t first = 0;    // index of the first answer that says it
  std::size_t votes = 0;    // 0: nobody gave an answer
  std::vector<bool> agrees; // by answer
};
// Answers are the same when same_math() says so; an empty one does not vote. Of equal numbers of votes the one that came first wins.
Majority majority(const std::vector<std::string> &answers);

} // namespace reward

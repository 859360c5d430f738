// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "schedule/program.hpp"

namespace schedule {

int most_held(const Program &program, int rank) {
  std::map<std::pair<int, int>, std::pair<int, int>> life; // (chunk, micro-batch): first and last
  const auto &list = program.actions[static_cast<std::size_t>(rank)];
  const auto touch = [&](const Piece &p, int i) {
    if (p.chunk < 0) return;
    life.try_emplace({p.chunk, p.micro_batch}, i, i).first->second.second = i;
  };
  for (int i = 0; i < static_cast<int>(list.size()); ++i) {
    touch(list[static_cast<std::size_t>(i)].at, i);
    touch(list[static_cast<std::size_t>(i)].with, i);
  }
  std::vector<int> change(list.size() + 1, 0);
  for (const auto &[key, span] : life) {
    ++change[static_cast<std::size_t>(span.first)];
    --change[static_cast<std::size_t>(span.second) + 1];
  }
  int now = 0, most = 0;
  for (const int c : change) most = std::max(most, now += c);
  return most;
}

} // namespace schedule

// SPDX-License-Identifier: Apache-2.0
#include "distil/choose.hpp"

#include <algorithm>

#include "base/hash.hpp"

namespace distil {

std::string normalised(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) {
      space = !out.empty();
      continue;
    }
    if (space) out += ' ';
    space = false;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

std::vector<std::size_t> choose(const std::vector<Candidate> &candidates, Choose by,
                                std::int64_t keep, const std::string &question,
                                std::set<std::string> &seen, std::int64_t &repeated) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < candidates.size(); ++i)
    if (candidates[i].passes) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) {
    const Candidate &a = candidates[x], &b = candidates[y];
    if (by == Choose::shortest && a.length != b.length) return a.length < b.length;
    if (by == Choose::best && a.reward != b.reward) return a.reward > b.reward;
    return a.sample < b.sample;
  });
  std::vector<std::size_t> kept;
  for (const std::size_t i : order) {
    const std::string form = base::hash128(question + '\0' + normalised(candidates[i].text)).hex();
    if (seen.count(form)) {
      ++repeated;
    } else if (static_cast<std::int64_t>(kept.size()) < keep) {
      seen.insert(form);
      kept.push_back(i);
    }
  }
  return kept;
}

} // namespace distil

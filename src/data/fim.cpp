// SPDX-License-Identifier: Apache-2.0
#include "data/fim.hpp"

#include <algorithm>

#include "base/random.hpp"

namespace data {
namespace {

// Three draws for each document: is it rewritten, first cut, second cut.
double draw(const Reading &reading, std::int64_t document, std::uint64_t which) {
  return base::random::uniform(reading.seed, base::random::Purpose::fim, reading.stream(),
                               static_cast<std::uint64_t>(document) << 2 | which);
}

} // namespace

bool fim_chosen(const Reading &reading, std::int64_t document, std::int64_t length, double rate) {
  return length >= kFimMinimum && draw(reading, document, 0) < rate;
}

FimCut fim_cut(const Reading &reading, std::int64_t document, std::int64_t length,
               const std::function<bool(std::int64_t)> &begins_character) {
  const auto cut = [&](std::uint64_t which) {
    auto at =
        static_cast<std::int64_t>(draw(reading, document, which) * static_cast<double>(length + 1));
    while (at < length && !begins_character(at)) ++at;
    return at;
  };
  const auto [first, second] = std::minmax({cut(1), cut(2)});
  return {first, second};
}

} // namespace data

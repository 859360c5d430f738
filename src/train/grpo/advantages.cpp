// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/advantages.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace train::grpo {
namespace {

bool flat(std::span<const double> rewards) {
  return std::all_of(rewards.begin(), rewards.end(), [&](double r) { return r == rewards[0]; });
}

std::span<const double> group_of(std::span<const double> rewards, std::int64_t group,
                                 std::size_t index) {
  const auto size = static_cast<std::size_t>(group);
  return rewards.subspan(index * size, size);
}

} // namespace

std::vector<double> advantages(std::span<const double> rewards, std::int64_t group, Spread spread) {
  HADAL_CHECK(group > 0 && rewards.size() % static_cast<std::size_t>(group) == 0,
              "{} rewards in groups of {}", rewards.size(), group);
  std::vector<double> all;
  for (std::size_t g = 0; g < rewards.size() / static_cast<std::size_t>(group); ++g) {
    const auto r = group_of(rewards, group, g);
    const bool none = flat(r);
    double mean = 0, squares = 0;
    for (const double value : r) mean += value;
    mean /= static_cast<double>(group);
    for (const double value : r) squares += (value - mean) * (value - mean);
    const double by =
        spread == Spread::deviation ? std::sqrt(squares / static_cast<double>(group)) : 1.0;
    for (const double value : r) all.push_back(none ? 0.0 : (value - mean) / by);
  }
  return all;
}

double flat_groups(std::span<const double> rewards, std::int64_t group) {
  return flat_groups(rewards, {}, group);
}

double flat_groups(std::span<const double> rewards, std::span<Steps *const> steps,
                   std::int64_t group) {
  const auto size = static_cast<std::size_t>(group);
  const std::size_t groups = rewards.size() / size;
  std::size_t found = 0;
  for (std::size_t g = 0; g < groups; ++g)
    found += flat(group_of(rewards, group, g)) &&
             (steps.empty() || flat_steps(steps.subspan(g * size, size)));
  return static_cast<double>(found) / static_cast<double>(groups);
}

double token_weight(const Options &o, std::int64_t answer, std::int64_t answers,
                    std::int64_t tokens) {
  const auto n = static_cast<double>(answers);
  if (o.ratio == Options::Ratio::sequence) return 1.0 / n; // once an answer
  switch (o.mean) {
  case Mean::answer: return 1.0 / (n * static_cast<double>(answer));
  case Mean::token: return 1.0 / static_cast<double>(tokens);
  case Mean::length: return 1.0 / (n * static_cast<double>(o.max_tokens));
  }
  return 0;
}

} // namespace train::grpo

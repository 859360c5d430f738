// SPDX-License-Identifier: Apache-2.0
// Two exact passes of dynamic programming over (layers left, stages left): the first finds the least possible maximum, the second
// the least sum of squares among the cuts that keep it. A greedy cut would keep the maximum, too, but leaves a short last stage.
#include "schedule/balance.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "base/error.hpp"

namespace schedule {
namespace {

using Wide = unsigned __int128; // squares of FLOPs do not fit into 64 bits
constexpr Wide kNone = std::numeric_limits<Wide>::max();

struct Table {
  Table(std::size_t stages, std::size_t layers)
      : width(layers + 1), values((stages + 1) * width, kNone) {}
  Wide &at(std::size_t stages, std::size_t layers) { return values[stages * width + layers]; }
  std::size_t width;
  std::vector<Wide> values;
};

// best(k, i): of the layers from i on, in k stages. join(cost of the first stage, best of the rest).
template <class Join>
Table solve(const std::vector<std::int64_t> &sums, std::size_t stages, Join join) {
  const std::size_t layers = sums.size() - 1;
  Table best(stages, layers);
  best.at(0, layers) = 0;
  for (std::size_t k = 1; k <= stages; ++k)
    for (std::size_t i = 0; i + k <= layers; ++i)
      for (std::size_t end = i + 1; end <= layers; ++end)
        if (const Wide rest = best.at(k - 1, end); rest != kNone)
          best.at(k, i) =
              std::min(best.at(k, i), join(static_cast<Wide>(sums[end] - sums[i]), rest));
  return best;
}

std::vector<std::int64_t> running_sums(const std::vector<std::int64_t> &costs) {
  std::vector<std::int64_t> sums = {0};
  for (const std::int64_t cost : costs) {
    HADAL_CHECK(cost >= 0 && cost <= (std::int64_t{1} << 60) - sums.back(), "cost {}", cost);
    sums.push_back(sums.back() + cost);
  }
  return sums;
}

} // namespace

std::vector<int> balance(const std::vector<std::int64_t> &costs, int stages) {
  HADAL_CHECK(stages >= 1 && static_cast<std::size_t>(stages) <= costs.size(),
              "{} stages of {} layers", stages, costs.size());
  const std::vector<std::int64_t> sums = running_sums(costs);
  const auto count = static_cast<std::size_t>(stages);
  const auto larger = [](Wide first, Wide rest) { return std::max(first, rest); };
  const Wide limit = solve(sums, count, larger).at(count, 0);
  const auto squares = [limit](Wide first, Wide rest) {
    return first > limit ? kNone : first * first + rest;
  };
  Table best = solve(sums, count, squares);
  std::vector<int> cut;
  std::size_t i = 0;
  for (std::size_t k = count; k > 0; --k) {
    std::size_t end = costs.size();
    while (best.at(k - 1, end) == kNone ||
           squares(static_cast<Wide>(sums[end] - sums[i]), best.at(k - 1, end)) != best.at(k, i)) {
      --end;
      HADAL_CHECK(end > i, "no cut at layer {} of {}", i, costs.size());
    }
    cut.push_back(static_cast<int>(end - i));
    i = end;
  }
  return cut;
}

void check_cut(const std::vector<int> &layers_of_stage, int layers, int stages,
               std::string_view where) {
  const long sum = std::accumulate(layers_of_stage.begin(), layers_of_stage.end(), 0L);
  const bool negative =
      std::any_of(layers_of_stage.begin(), layers_of_stage.end(), [](int n) { return n < 0; });
  if (!negative && sum == layers && layers_of_stage.size() == static_cast<std::size_t>(stages))
    return;
  throw base::UserError(
      base::Exit::deck, "E018", where,
      fmt::format("layers of the stages: {}", fmt::join(layers_of_stage, ", ")),
      fmt::format("{} numbers with the sum {} are given; {} stage{} of {} layer{} need one number "
                  "for each stage, none negative, with the sum {}.",
                  layers_of_stage.size(), sum, stages, stages == 1 ? "" : "s", layers,
                  layers == 1 ? "" : "s", layers));
}

std::vector<std::int64_t> stage_costs(const std::vector<std::int64_t> &costs,
                                      const std::vector<int> &layers_of_stage) {
  std::vector<std::int64_t> sums;
  std::size_t layer = 0;
  for (const int count : layers_of_stage) {
    sums.push_back(0);
    for (int i = 0; i < count; ++i) sums.back() += costs.at(layer++);
  }
  return sums;
}

} // namespace schedule

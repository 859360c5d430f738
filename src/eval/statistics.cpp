// SPDX-License-Identifier: Apache-2.0
#include "eval/statistics.hpp"

#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "eval/draw.hpp"

namespace eval {

double mean(const std::vector<double> &values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double standard_error(const std::vector<double> &values) {
  if (values.size() < 2) return std::numeric_limits<double>::quiet_NaN();
  const double middle = mean(values), n = static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n); // (1)
}

double bootstrap_error(std::size_t n, std::int64_t rounds, std::uint64_t seed,
                       const std::function<double(const std::vector<std::size_t> &)> &statistic) {
  if (n < 2 || rounds < 2) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> results;
  std::vector<std::size_t> drawn(n);
  const std::uint64_t step = base::hash64("bootstrap");
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < n; ++i)
      drawn[i] =
          base::random::bits(seed, kPurpose, step, static_cast<std::uint64_t>(round) * n + i) % n;
    results.push_back(statistic(drawn));
  }
  return standard_error(results) * std::sqrt(static_cast<double>(rounds));
}

double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k) {
  HADAL_CHECK(0 <= c && c <= n && 1 <= k && k <= n, "n {} c {} k {}", n, c, k);
  if (n - c < k) return 1;
  double none = 1;
  for (std::int64_t i = n - c + 1; i <= n; ++i) // (2)
    none *= 1.0 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - none;
}

} // namespace eval

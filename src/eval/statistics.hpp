// SPDX-License-Identifier: Apache-2.0
#pragma once
// Means and their standard errors.
#include <cstdint>
#include <functional>
#include <vector>

namespace eval {

double mean(const std::vector<double> &values);
// (1) sqrt( sum (x - mean)^2 / (n - 1) ) / sqrt(n). NaN below two values.
double standard_error(const std::vector<double> &values);
// Standard deviation of `statistic` over `rounds` samples of n indices drawn with replacement from 0 .. n - 1, by a fixed seed. NaN
// below two values.
double bootstrap_error(std::size_t n, std::int64_t rounds, std::uint64_t seed,
                       const std::function<double(const std::vector<std::size_t> &)> &statistic);
// Probability that k answers drawn from n, of which c are right, hold a right one: (2) 1 - C(n-c, k) / C(n, k), as a product that does
// not overflow (unbiased estimator of pass@k).
double pass_at_k(std::int64_t n, std::int64_t c, std::int64_t k);

} // namespace eval

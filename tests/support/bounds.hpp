// SPDX-License-Identifier: Apache-2.0
#pragma once
// One table of bounds for comparisons of kernels, as relative errors in the 2-norm (support::relative_error).
// Half a unit in the last place is u = 2^-24 in float and 2^-8 in bf16. Rounding errors of a sum of n terms of random sign
// grow like sqrt(n) u; a tensor rounded once to the format has a relative error of 0.37 u to 0.45 u (uniform mantissas).
#include <cmath>
#include <type_traits>

#include "numerics/bf16.hpp"

namespace support {

inline constexpr double kUnitFloat = 0x1p-24, kUnitBf16 = 0x1p-8;

// FP32 kernel against a double reference: sums of n terms.
inline double float_bound(double n) { return (4.0 + std::sqrt(n)) * kUnitFloat * 1.1; }
// Kernel in format A against the same in double, `roundings` tensors being rounded to A on the way to the result
// (1 = the result alone), FP32 sums of n terms inside.
template <class A> double bound(double roundings, double n) {
  const double rounded = std::is_same_v<A, float> ? 0.0 : roundings * kUnitBf16 * 0.5;
  return rounded + float_bound(n);
}

// One element that is an FP32 sum of n products in any order, rounded once to Y; magnitude: the sum of the terms' magnitudes.
// Rigorous up to second order; the last summand covers results below the normal range.
template <class Y> double sum_bound(double n, double magnitude, double value) {
  const double rounding = std::is_same_v<Y, float> ? 0.0 : kUnitBf16;
  return (n + 2) * kUnitFloat * magnitude * (1 + rounding) + rounding * std::abs(value) + 0x1p-120;
}

} // namespace support

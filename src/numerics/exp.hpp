// SPDX-License-Identifier: Apache-2.0
#pragma once
// exp, sigmoid and silu for kernels: branch-free, the same bits on every thread and at every place of an array, and
// vectorised by the compiler (expf is a call into the C library, one element at a time).
//   (1) n = round(x / ln 2),  r = x - n ln 2 (ln 2 in two parts),  |r| <= 0.35
//   (2) e^r = 1 + r + r^2 q(r), q of degree 5 (coefficients: Cephes, expf)
//   (3) e^x = e^r 2^(n/2) 2^(n - n/2): the last factor rounds subnormal results once
// Error below 1.02 units in the last place; exact 0 at -inf and below -103.98, inf above 88.73, NaN for NaN.
#include <cmath>
#include <cstdint>
#include <cstring>

#include <Kokkos_Core.hpp>

namespace numerics {

KOKKOS_INLINE_FUNCTION float
power_of_two(std::uint32_t exponent) { // 2^exponent, -126 .. 127 in two's complement
  const std::uint32_t bits = (exponent + 127U) << 23;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

KOKKOS_INLINE_FUNCTION float fast_exp(float x) {
  x = x < -104.0f ? -104.0f : x; // comparisons are false for NaN, which stays
  x = x > 89.0f ? 89.0f : x;
  const float shift =
      12582912.0f; // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
  const float shifted = fmaf(x, 1.44269504088896341f, shift);
  const float n = shifted - shift;
  float r = fmaf(n, -0.693147182464599609375f, x); // (1)
  r = fmaf(n, 1.90465429995776893e-9f, r);
  float q = 1.9875691500e-4f; // (2)
  q = fmaf(q, r, 1.3981999507e-3f);
  q = fmaf(q, r, 8.3334519073e-3f);
  q = fmaf(q, r, 4.1665795894e-2f);
  q = fmaf(q, r, 1.6666665459e-1f);
  q = fmaf(q, r, 5.0000001201e-1f);
  const float power = fmaf(q, r * r, r) + 1.0f;
  std::uint32_t bits;
  memcpy(&bits, &shifted, 4);
  const std::int32_t whole = static_cast<std::int32_t>(bits - 0x4B400000U); // n as an integer
  const std::int32_t half = whole >> 1;
  return power * power_of_two(static_cast<std::uint32_t>(half)) *
         power_of_two(static_cast<std::uint32_t>(whole) - static_cast<std::uint32_t>(half)); // (3)
}

// 1 / (1 + e^-x)
KOKKOS_INLINE_FUNCTION float sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }
// x sigmoid(x)
KOKKOS_INLINE_FUNCTION float silu(float x) { return x * sigmoid(x); }

// d silu / dx where s = sigmoid(x)
KOKKOS_INLINE_FUNCTION float silu_slope(float x, float s) { return fmaf(x * s, 1.0f - s, s); }

} // namespace numerics

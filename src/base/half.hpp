// SPDX-License-Identifier: Apache-2.0
#pragma once
// The 16-bit number formats of files, as bits: F16 (IEEE binary16) and BF16 (upper half of FP32). To 16 bits: nearest, ties to even; beyond
// the largest: infinity; NaN stays NaN. From 16 bits: exact.
#include <bit>
#include <cstdint>

namespace base {
namespace half {

inline constexpr std::uint32_t kInfinity = 0x7f800000;
inline constexpr std::uint32_t kF16Overflow =
    0x477ff000; // 65520: half way from the largest, 65504, to the next

// m / 2^shift, nearest, ties to even.
constexpr std::uint32_t shifted(std::uint32_t m, std::uint32_t shift) {
  return (m + (1U << (shift - 1)) - 1 + (m >> shift & 1)) >> shift;
}

} // namespace half

inline std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000, m = bits & 0x7fffffff;
  std::uint32_t half = 0;
  if (m > half::kInfinity) {
    half = 0x7e00 | (m >> 13 & 0x1ff); // quiet, with what fits of its payload
  } else if (m >= half::kF16Overflow) {
    half = 0x7c00;
  } else if (m >= 0x38800000) { // 2^-14 and above: exponents count from 15 instead of 127
    half = half::shifted(m - (112U << 23), 13);
  } else if (m >=
             0x33000000) { // 2^-25 and above: a multiple of 2^-24; the carry into 2^-14 is right
    half = half::shifted((m & 0x7fffff) | 0x800000, 126 - (m >> 23));
  }
  return static_cast<std::uint16_t>(sign | half);
}

inline float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16, m = bits & 0x7fffU;
  if (m >= 0x7c00) return std::bit_cast<float>(sign | half::kInfinity | (m & 0x3ff) << 13);
  if (m >= 0x0400) return std::bit_cast<float>(sign | ((m << 13) + (112U << 23)));
  const float size = static_cast<float>(m) * 0x1p-24F;
  return sign ? -size : size;
}

inline std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffff) > half::kInfinity) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

} // namespace base

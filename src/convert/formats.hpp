// SPDX-License-Identifier: Apache-2.0
#pragma once
// Number formats of foreign files <-> FP32. All roundings are to nearest even.
//   E4M3 ("fn"): 1 sign, 4 exponent (bias 7), 3 mantissa bits; largest 448, no infinity, NaN = 0x7F and 0xFF.
//   FP8 blocks: real = e4m3 * scale, one FP32 scale ("weight_scale_inv", a factor in spite of its name) for a 128 x 128 block; the
//   blocks at the right and lower edge are cut.
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

#include "base/half.hpp"

namespace convert {

inline constexpr std::int64_t kBlock = 128;
inline constexpr float kLargestE4m3 = 448.0F;

using base::from_bf16, base::from_f16, base::to_bf16;

// Blocks that cover n elements of a row or column.
inline std::int64_t blocks_of(std::int64_t n) {
  return n / kBlock + (n % kBlock != 0 ? 1 : 0); // n: up to 2^63 - 1
}

inline float from_e4m3_slowly(std::uint8_t bits) {
  const int exponent = (bits >> 3) & 0xf, mantissa = bits & 7;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                              : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  if ((bits & 0x7f) == 0x7f) value = std::bit_cast<float>(0x7fc00000U);
  return (bits & 0x80) != 0 ? -value : value;
}
inline float from_e4m3(std::uint8_t bits) {
  static const auto table = [] {
    std::array<float, 256> t{};
    for (int i = 0; i < 256; ++i)
      t[static_cast<std::size_t>(i)] = from_e4m3_slowly(static_cast<std::uint8_t>(i));
    return t;
  }();
  return table[bits];
}
// Beyond +-448 it saturates; NaN stays NaN with its sign.
inline std::uint8_t to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint8_t>((bits >> 24) & 0x80U);
  const std::uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return sign | 0x7fU;
  if (magnitude < 0x3c800000U) // below 2^-6: multiples of 2^-9
    return sign | static_cast<std::uint8_t>(
                      std::nearbyint(std::ldexp(std::bit_cast<float>(magnitude), 9)));
  const std::uint32_t rounded = magnitude + 0x7ffffU + ((magnitude >> 20) & 1U);
  const std::uint32_t code = (rounded >> 20) - ((127U - 7U) << 3);
  return sign | static_cast<std::uint8_t>(code > 0x7eU ? 0x7eU : code);
}

} // namespace convert

// SPDX-License-Identifier: Apache-2.0
#pragma once
// bfloat16: the upper half of an IEEE float. Conversion rounds to nearest, ties to even; a NaN stays a NaN (quieted).
#include <cstdint>
#include <cstring>

#include <Kokkos_Core.hpp>

namespace numerics {

struct bf16 {
  std::uint16_t bits;

  bf16() = default;
  KOKKOS_INLINE_FUNCTION bf16(float value) { // NOLINT: conversions are the point
    const std::uint32_t u = float_bits(value);
    const std::uint32_t rounded = (u + 0x7FFFU + ((u >> 16) & 1U)) >> 16;
    const std::uint32_t nan = (u >> 16) | 0x40U;
    bits = static_cast<std::uint16_t>((u & 0x7FFFFFFFU) > 0x7F800000U ? nan : rounded);
  }
  KOKKOS_INLINE_FUNCTION operator float() const {
    const std::uint32_t u = static_cast<std::uint32_t>(bits) << 16;
    float value;
    memcpy(&value, &u, 4);
    return value;
  }

private:
  KOKKOS_INLINE_FUNCTION static std::uint32_t float_bits(float value) {
    std::uint32_t u;
    memcpy(&u, &value, 4);
    return u;
  }
};
static_assert(sizeof(bf16) == 2);

// to = from in loops that copy: assigning the whole class is not vectorised by GCC 12, assigning its bits is.
KOKKOS_INLINE_FUNCTION void copy_element(const bf16 &from, bf16 &to) { to.bits = from.bits; }
KOKKOS_INLINE_FUNCTION void copy_element(const float &from, float &to) { to = from; }

} // namespace numerics

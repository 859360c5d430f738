// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "numerics/bf16.hpp"

using numerics::bf16;

namespace {
bf16 of_bits(std::uint16_t bits) {
  bf16 b;
  b.bits = bits;
  return b;
}
float of(std::uint32_t bits) { return std::bit_cast<float>(bits); }
} // namespace

TEST(Bf16, EveryValueComesBack) {
  for (std::uint32_t i = 0; i < 0x10000; ++i) {
    const auto bits = static_cast<std::uint16_t>(i);
    const float value = of_bits(bits);
    const std::uint16_t back = bf16(value).bits;
    if (std::isnan(value)) {
      EXPECT_EQ(back, bits | 0x40) << std::hex << i; // quieted, sign and payload kept
    } else {
      EXPECT_EQ(back, bits) << std::hex << i;
    }
  }
}

// Between every two neighbours: below the middle down, above it up, the middle itself to the even one.
TEST(Bf16, RoundsToNearestTiesToEven) {
  for (std::uint32_t i = 0; i < 0x7F80; ++i)
    for (const std::uint32_t sign : {0U, 0x8000U}) {
      const std::uint32_t low = (i | sign) << 16;
      const auto down = static_cast<std::uint16_t>(i | sign),
                 up = static_cast<std::uint16_t>(down + 1); // the last up is infinity
      ASSERT_EQ(bf16(of(low | 0x0001)).bits, down);
      ASSERT_EQ(bf16(of(low | 0x7FFF)).bits, down);
      ASSERT_EQ(bf16(of(low | 0x8000)).bits, i % 2 == 0 ? down : up);
      ASSERT_EQ(bf16(of(low | 0x8001)).bits, up);
      ASSERT_EQ(bf16(of(low | 0xFFFF)).bits, up);
    }
}

TEST(Bf16, Table) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(bf16(1.0F).bits, 0x3F80);
  EXPECT_EQ(bf16(-2.0F).bits, 0xC000);
  EXPECT_EQ(bf16(0.0F).bits, 0x0000);
  EXPECT_EQ(bf16(-0.0F).bits, 0x8000);
  EXPECT_EQ(bf16(3.14159274F).bits, 0x4049);
  EXPECT_EQ(bf16(inf).bits, 0x7F80);
  EXPECT_EQ(bf16(-inf).bits, 0xFF80);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7F80); // rounds to infinity
  EXPECT_EQ(bf16(of(0x7F7F7FFF)).bits, 0x7F7F);                    // the largest that does not
  EXPECT_EQ(bf16(of(0x00000001)).bits, 0x0000);                    // smallest float
  EXPECT_EQ(bf16(of(0x00008001)).bits, 0x0001);                    // subnormals are kept
  EXPECT_EQ(bf16(of(0x007FFFFF)).bits, 0x0080); // subnormal that rounds to the smallest normal
  EXPECT_EQ(bf16(of(0x7F800001)).bits, 0x7FC0); // NaN whose payload would be cut off
  EXPECT_EQ(bf16(of(0xFFFFFFFF)).bits, 0xFFFF); // NaN that would overflow when rounded
  EXPECT_TRUE(std::isnan(static_cast<float>(bf16(std::nanf("")))));
}

// SPDX-License-Identifier: Apache-2.0
// Number formats of foreign files: every code, every tie.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.hpp"
#include "convert/formats.hpp"
#include "convert/fp8_blocks.hpp"

namespace {

using namespace convert;

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

// The value of a finite E4M3 code from its definition.
double e4m3(int code) {
  const int exponent = (code >> 3) & 15, mantissa = code & 7;
  const double value = exponent == 0 ? mantissa / 8.0 * std::exp2(-6)
                                     : (1 + mantissa / 8.0) * std::exp2(exponent - 7);
  return (code & 0x80) != 0 ? -value : value;
}

TEST(E4m3, EveryCodeDecodesToItsValueAndBack) {
  EXPECT_EQ(e4m3(0x7e), 448.0);
  for (int code = 0; code < 256; ++code) {
    const float value = from_e4m3(static_cast<std::uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value));
    } else {
      EXPECT_EQ(static_cast<double>(value), e4m3(code)) << code;
      EXPECT_EQ(std::signbit(value), code >= 0x80) << code;
    }
    EXPECT_EQ(to_e4m3(value), code);
  }
}

TEST(E4m3, RoundsToNearestTiesToEven) {
  for (int code = 0; code < 0x7e; ++code) {
    const auto low = static_cast<float>(e4m3(code)), high = static_cast<float>(e4m3(code + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_e4m3(middle), code % 2 == 0 ? code : code + 1) << code;
    EXPECT_EQ(to_e4m3(-middle), 0x80 | (code % 2 == 0 ? code : code + 1)) << code;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 0.0F)), code) << code;
    EXPECT_EQ(to_e4m3(std::nextafter(middle, 1e9F)), code + 1) << code;
  }
}

TEST(E4m3, SaturatesAndKeepsNaN) {
  for (const float large : {449.0F, 464.0F, 480.0F, 1e30F, INFINITY}) {
    EXPECT_EQ(to_e4m3(large), 0x7e);
    EXPECT_EQ(to_e4m3(-large), 0xfe);
  }
  EXPECT_EQ(to_e4m3(NAN) & 0x7f, 0x7f);
  EXPECT_EQ(to_e4m3(1e-40F), 0);
  EXPECT_EQ(to_e4m3(-1e-40F), 0x80);
}

TEST(HalfFormats, EveryCode) {
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    EXPECT_EQ(bits(from_bf16(half)), code << 16);
    if (!std::isnan(from_bf16(half))) {
      ASSERT_EQ(to_bf16(from_bf16(half)), half);
    }
#if defined(__FLT16_MAX__)
    const auto expected = static_cast<float>(std::bit_cast<_Float16>(half));
    if (std::isnan(expected))
      ASSERT_TRUE(std::isnan(from_f16(half))) << code;
    else
      ASSERT_EQ(bits(from_f16(half)), bits(expected)) << code;
#endif
  }
}

TEST(HalfFormats, Bf16RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000U)), 0x3f80); // a tie: down to even
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000U)), 0x3f82); // a tie: up to even
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001U)), 0x3f81);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x7f7fffffU)), 0x7f80); // beyond the largest: infinity
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7f800001U)))));
}

// A ragged matrix: 2 x 3 blocks, the last of 5 rows and 70 columns.
struct Matrix {
  static constexpr std::int64_t kRows = 133, kColumns = 326;
  std::vector<float> values = std::vector<float>(kRows * kColumns);
  Matrix() {
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(base::random::normal(3, base::random::Purpose::test, 0, i) *
                                     (1 + i / kColumns));
  }
  Fp8Blocks::Read read() const {
    return [this](std::uint64_t first, std::size_t count, float *to) {
      std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first), count, to);
    };
  }
};
struct Coded {
  std::vector<std::uint8_t> codes = std::vector<std::uint8_t>(Matrix::kRows * Matrix::kColumns);
  std::vector<float> scales = std::vector<float>(6);
  explicit Coded(const Fp8Blocks &blocks) {
    EXPECT_EQ(blocks.block_rows(), 2);
    EXPECT_EQ(blocks.block_columns(), 3);
    blocks.codes(0, 2, codes.data());
    blocks.scales(0, 2, scales.data());
  }
  float value(std::int64_t row, std::int64_t column) const {
    return from_e4m3(codes[static_cast<std::size_t>(row * Matrix::kColumns + column)]) *
           scales[static_cast<std::size_t>(row / 128 * 3 + column / 128)];
  }
  Matrix decoded() const {
    Matrix m;
    for (std::int64_t r = 0; r < Matrix::kRows; ++r)
      for (std::int64_t c = 0; c < Matrix::kColumns; ++c)
        m.values[static_cast<std::size_t>(r * Matrix::kColumns + c)] = value(r, c);
    return m;
  }
};
Fp8Blocks::Read given(const std::vector<float> &scales) {
  return [&scales](std::uint64_t first, std::size_t count, float *to) {
    std::copy_n(scales.begin() + static_cast<std::ptrdiff_t>(first), count, to);
  };
}

TEST(Fp8Blocks, FreshScalesAreTheLargestOver448) {
  const Matrix m;
  const Coded coded(Fp8Blocks(Matrix::kRows, Matrix::kColumns, m.read(), {}));
  for (std::int64_t row_block = 0; row_block < 2; ++row_block)
    for (std::int64_t block = 0; block < 3; ++block) {
      float largest = 0;
      for (std::int64_t r = row_block * 128; r < std::min(Matrix::kRows, (row_block + 1) * 128);
           ++r)
        for (std::int64_t c = block * 128; c < std::min(Matrix::kColumns, (block + 1) * 128); ++c)
          largest = std::max(
              largest, std::fabs(m.values[static_cast<std::size_t>(r * Matrix::kColumns + c)]));
      const float scale = coded.scales[static_cast<std::size_t>(row_block * 3 + block)];
      EXPECT_EQ(scale, largest / 448.0F);
      for (std::int64_t r = row_block * 128; r < std::min(Matrix::kRows, (row_block + 1) * 128);
           ++r)
        for (std::int64_t c = block * 128; c < std::min(Matrix::kColumns, (block + 1) * 128); ++c) {
          const float x = m.values[static_cast<std::size_t>(r * Matrix::kColumns + c)];
          // Half a step: 2^-4 of the value, or 2^-10 of the scale below the normal numbers.
          ASSERT_NEAR(coded.value(r, c), x, std::max(std::fabs(x) * 0.0626F, scale * 0.00098F));
        }
    }
}

TEST(Fp8Blocks, ImportedBlocksGetTheirFactorsBack) {
  // Factors of another recipe: powers of two, so that no code is 448.
  const Matrix m;
  const Coded coded(Fp8Blocks(Matrix::kRows, Matrix::kColumns, m.read(), {}));
  std::vector<float> foreign = coded.scales;
  for (float &s : foreign) s = s * 1.37F;
  Coded first = coded;
  first.scales = foreign; // the same codes with other factors: what somebody else published
  const Matrix imported = first.decoded();
  const Coded again(Fp8Blocks(Matrix::kRows, Matrix::kColumns, imported.read(), given(foreign)));
  EXPECT_EQ(again.codes, first.codes);
  EXPECT_EQ(again.scales, foreign);
}

TEST(Fp8Blocks, AChangedBlockGetsAFreshFactorAndTheOthersKeepTheirs) {
  const Matrix m;
  const Coded coded(Fp8Blocks(Matrix::kRows, Matrix::kColumns, m.read(), {}));
  std::vector<float> foreign = coded.scales;
  for (float &s : foreign) s *= 1.37F;
  Coded published = coded;
  published.scales = foreign;
  Matrix trained = published.decoded();
  trained.values[200] = 1000; // row 0, column 200: block 1
  const Coded again(Fp8Blocks(Matrix::kRows, Matrix::kColumns, trained.read(), given(foreign)));
  for (std::size_t b = 0; b < 6; ++b)
    EXPECT_EQ(again.scales[b] == foreign[b], b != 1) << "block " << b;
}

TEST(Fp8Blocks, ZerosKeepTheirSign) {
  Matrix m;
  std::fill(m.values.begin(), m.values.end(), 0.0F);
  m.values[5] = -0.0F;
  const Coded fresh(Fp8Blocks(Matrix::kRows, Matrix::kColumns, m.read(), {}));
  EXPECT_EQ(fresh.scales, std::vector<float>(6, 1.0F));
  EXPECT_EQ(fresh.codes[5], 0x80);
  EXPECT_EQ(fresh.codes[6], 0x00);
  const std::vector<float> zero(6, 0.0F); // a factor of 0, as some writers give blocks of zeros
  const Coded kept(Fp8Blocks(Matrix::kRows, Matrix::kColumns, m.read(), given(zero)));
  EXPECT_EQ(kept.scales, zero);
  EXPECT_EQ(kept.codes, fresh.codes);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include "convert/fp8_blocks.hpp"

#include <algorithm>
#include <bit>

#include "convert/formats.hpp"

namespace convert {
namespace {

// One block inside a row of blocks: its columns, and the rows that there are.
struct Block {
  const float *values;
  std::int64_t rows, stride, first, last; // columns [first, last)
  template <class F> bool all(const F &f) const {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = first; c < last; ++c)
        if (!f(values[r * stride + c])) return false;
    return true;
  }
};

// A factor of 0 stands for zeros, which keep their sign.
std::uint8_t code_of(float value, float scale) {
  return to_e4m3(scale > 0 ? value / scale : value);
}

bool reproduces(const Block &block, float scale) {
  return block.all([scale](float value) {
    const float again = from_e4m3(code_of(value, scale)) * scale;
    return std::bit_cast<std::uint32_t>(again) == std::bit_cast<std::uint32_t>(value);
  });
}

float fresh_scale(const Block &block) {
  float largest = 0;
  block.all([&largest](float value) {
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
    return true;
  });
  const float scale = largest / kLargestE4m3;
  return scale > 0 ? scale : 1.0F;
}

} // namespace

Fp8Blocks::Fp8Blocks(std::int64_t rows, std::int64_t columns, Read weights, Read factors)
    : rows_(rows), columns_(columns), block_rows_(blocks_of(rows)),
      block_columns_(blocks_of(columns)), weights_(std::move(weights)),
      factors_(std::move(factors)) {}

void Fp8Blocks::load(std::int64_t block_row) const {
  const std::int64_t first = block_row * kBlock, rows = std::min(kBlock, rows_ - first);
  values_.resize(static_cast<std::size_t>(rows * columns_));
  weights_(static_cast<std::uint64_t>(first * columns_), values_.size(), values_.data());
  scale_.assign(static_cast<std::size_t>(block_columns_), -1.0F);
  if (factors_)
    factors_(static_cast<std::uint64_t>(block_row * block_columns_), scale_.size(), scale_.data());
  for (std::int64_t b = 0; b < block_columns_; ++b) {
    const Block block{values_.data(), rows, columns_, b * kBlock,
                      std::min((b + 1) * kBlock, columns_)};
    float &scale = scale_[static_cast<std::size_t>(b)];
    if (scale < 0 || !reproduces(block, scale)) scale = fresh_scale(block);
  }
}

void Fp8Blocks::codes(std::int64_t first, std::int64_t count, std::uint8_t *to) const {
  for (std::int64_t row = first; row < first + count; ++row) {
    load(row);
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const auto column = static_cast<std::int64_t>(i) % columns_;
      *to++ = code_of(values_[i], scale_[static_cast<std::size_t>(column / kBlock)]);
    }
  }
}

void Fp8Blocks::scales(std::int64_t first, std::int64_t count, float *to) const {
  for (std::int64_t row = first; row < first + count; ++row) {
    load(row);
    to = std::copy(scale_.begin(), scale_.end(), to);
  }
}

} // namespace convert

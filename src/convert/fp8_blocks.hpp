// SPDX-License-Identifier: Apache-2.0
#pragma once
// A matrix as E4M3 blocks of 128 x 128 with one FP32 factor each. A block that was imported as FP8 and is unchanged since gets its old
// factor back, and with it the same bytes; any other gets largest / 448 (1 for a block of zeros).
#include <cstdint>
#include <functional>
#include <vector>

namespace convert {

class Fp8Blocks {
public:
  using Read = std::function<void(std::uint64_t first, std::size_t count, float *to)>;
  // weights: elements of the matrix [rows, columns]; factors: of the imported blocks, or empty.
  Fp8Blocks(std::int64_t rows, std::int64_t columns, Read weights, Read factors);

  std::int64_t block_rows() const { return block_rows_; }
  std::int64_t block_columns() const { return block_columns_; }
  // Rows of blocks [first, first + count): codes [128 count, columns] (cut at the lower edge).
  void codes(std::int64_t first, std::int64_t count, std::uint8_t *to) const;
  // Factors [count, block_columns] of the same.
  void scales(std::int64_t first, std::int64_t count, float *to) const;

private:
  // Reads one row of blocks and decides its factors.
  void load(std::int64_t block_row) const;

  std::int64_t rows_, columns_, block_rows_, block_columns_;
  Read weights_, factors_;
  mutable std::vector<float> values_, scale_; // of the row of blocks at hand
};

} // namespace convert

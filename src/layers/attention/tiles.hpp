// SPDX-License-Identifier: Apache-2.0
#pragma once
// FP32 tiles of the blocked host form of attention: packing out of the model's arrays, and products of packed tiles.
//   C[r, j] = sum - w[r],  C[r, j] += sum  or  C[r, j] = C[r, j] w[r] + sum,   where
//   sum = sum_k a(k, r) b[k, j],   k = 0 .. depth-1 in order, one fused multiply-add each
// so that a value's bits depend on its own row of a and column of b alone, not on the tile's extent or place.
// The kernel works on 8 x 32 values of C, which the compiler keeps in 16 vector registers of 16 floats.
// Columns of b and C are padded to kCols, rows of a and C to kRows.
#include <cmath>

#include "layers/attention/attention.hpp"

namespace layers::attention::tiles {

inline constexpr Index kRows = 8, kCols = 32, kBlock = kKeyBlock;
static_assert(kBlock % kRows == 0 && kBlock % kCols == 0);

constexpr Index padded(const Index n) { return (n + kCols - 1) / kCols * kCols; }

// How a lies in memory: by rows, a[r * lda + k], or by columns, a[k * lda + r].
enum class Lie { rows, columns };
enum class Into { subtract, add, scale };

// One 8 x 32 piece of C.
template <Lie lie, Into into>
inline void product_piece(const Index depth, const float *__restrict a, const Index lda,
                          const float *__restrict b, const Index ldb, float *__restrict c,
                          const Index ldc, const float *__restrict w) {
  alignas(64) float sum[kRows][kCols];
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r) {
    for (Index j = 0; j < kCols; ++j) sum[r][j] = 0;
  }
  for (Index k = 0; k < depth; ++k) {
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
      const float x = lie == Lie::rows ? a[r * lda + k] : a[k * lda + r];
#pragma GCC ivdep
      for (Index j = 0; j < kCols; ++j) sum[r][j] = fmaf(x, b[k * ldb + j], sum[r][j]);
    }
  }
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r) {
    float *to = c + r * ldc;
#pragma GCC ivdep
    for (Index j = 0; j < kCols; ++j) {
      if constexpr (into == Into::subtract) to[j] = sum[r][j] - w[r];
      if constexpr (into == Into::add) to[j] = to[j] + sum[r][j];
      if constexpr (into == Into::scale) to[j] = fmaf(to[j], w[r], sum[r][j]);
    }
  }
}

// What a causal mask leaves of a product, to be skipped in whole pieces; on the diagonal the caller masks the rest.
//   all           every piece
//   lower         C[r, j] is wanted for j <= r only           (scores, by query and key)
//   upper         C[r, j] is wanted for r <= j only           (scores, by key and query)
//   depth_to_row  a(k, r) is zero for k > r                   (over keys, for a query row)
//   depth_from_row  a(k, r) is zero for k < r                 (over queries, for a key row)
enum class Part { all, lower, upper, depth_to_row, depth_from_row };

struct Operand {
  const float *data;
  Index stride;
};
struct Result {
  float *data;
  Index stride;
};

template <Lie lie, Into into>
inline void product(const Part part, const Index rows, const Index cols, const Index depth,
                    const Operand a, const Operand b, const Result c, const float *w = nullptr) {
  for (Index j = 0; j < cols; j += kCols) {
    for (Index r = 0; r < rows; r += kRows) {
      if (part == Part::lower && j >= r + kRows) continue;
      if (part == Part::upper && r >= j + kCols) continue;
      const Index first = part == Part::depth_from_row ? r : 0;
      const Index last = part == Part::depth_to_row && r + kRows < depth ? r + kRows : depth;
      if (last <= first) continue;
      const float *a_piece =
          lie == Lie::rows ? a.data + r * a.stride + first : a.data + first * a.stride + r;
      product_piece<lie, into>(last - first, a_piece, a.stride, b.data + first * b.stride + j,
                               b.stride, c.data + r * c.stride + j, c.stride, w ? w + r : nullptr);
    }
  }
}

// rows x width values out of rows that lie `stride` apart, times factor, to a tile of `height` rows; rows beyond are zero.
template <class A>
inline void pack(const A *__restrict from, const Index stride, const Index rows, const Index width,
                 const float factor, float *__restrict to, const Index to_stride,
                 const Index height) {
  for (Index r = 0; r < height; ++r) {
    float *t = to + r * to_stride;
    const A *f = from + r * stride;
    if (r < rows) {
#pragma GCC ivdep
      for (Index i = 0; i < width; ++i) t[i] = static_cast<float>(f[i]) * factor;
    } else {
      for (Index i = 0; i < width; ++i) t[i] = 0;
    }
  }
}

// to[4 i + j] = from[j * n + i] for i < n: four rows of n become n columns of four.
template <class A>
inline void interleave(const A *__restrict from, const Index apart, const Index n,
                       const float factor, float *__restrict to) {
  const A *__restrict one = from + apart, *__restrict two = from + 2 * apart,
                      *__restrict three = from + 3 * apart;
#pragma GCC ivdep
  for (Index i = 0; i < n; ++i) {
    to[4 * i] = static_cast<float>(from[i]) * factor;
    to[4 * i + 1] = static_cast<float>(one[i]) * factor;
    to[4 * i + 2] = static_cast<float>(two[i]) * factor;
    to[4 * i + 3] = static_cast<float>(three[i]) * factor;
  }
}

// As pack, transposed: to[i * kBlock + r]. 64 rows are interleaved by four, three times: the two leading bits of the row's number
// become the last bits of the place each time, so [64][W] -> [16][W][4] -> [4][W][16] -> [W][64]. spare: kBlock * width.
template <class A>
inline void pack_transposed(const A *__restrict from, const Index stride, const Index rows,
                            const Index width, const float factor, float *__restrict to,
                            float *__restrict spare) {
  static_assert(kBlock == 64);
  if (rows < kBlock) {
    for (Index i = 0; i < width; ++i) {
      for (Index r = 0; r < kBlock; ++r)
        to[i * kBlock + r] = r < rows ? static_cast<float>(from[r * stride + i]) * factor : 0.0F;
    }
    return;
  }
  for (Index r = 0; r < 16; ++r)
    interleave(from + r * stride, 16 * stride, width, factor, to + r * 4 * width);
  interleave(to, 16 * width, 16 * width, 1.0F, spare);
  interleave(spare, 16 * width, 16 * width, 1.0F, to);
}

inline void zero(float *to, const Index n) {
  for (Index i = 0; i < n; ++i) to[i] = 0;
}

// A bump pointer over one thread's scratch.
class Scratch {
public:
  explicit Scratch(float *from) : next_(from) {}
  float *take(const Index n) {
    float *place = next_;
    next_ += (n + 15) / 16 * 16;
    return place;
  }

private:
  float *next_;
};

} // namespace layers::attention::tiles

// SPDX-License-Identifier: Apache-2.0
// Tiles by our own loops, for processors on which oneDNN's rows depend on their neighbours (its body "gemm:jit"). Every
// element is one chain of fused multiply-adds over k in ascending order, wherever it stands: the law holds by construction.
// Columns go in strips of kColumns, packed for kDepth values of k; rows in blocks of kRows whose sums stay in registers.
#include <algorithm>
#include <cmath>
#include <utility>

#include "numerics/tile.hpp"

namespace numerics::plain {

namespace {

#ifdef __AVX512F__
constexpr int kColumns = 32;
#else
constexpr int kColumns = 16;
#endif
constexpr int kRows = 6;
constexpr Index kDepth = 256;

// Element (i, l) of an operand.
struct Operand {
  const float *data;
  Index row, column; // strides
  const float *at(Index i, Index l) const { return data + i * row + l * column; }
};

// Columns j .. j + width of b for `depth` values of k, as strip[l][kColumns], zeros beyond width.
void pack(const Operand &b, Index l0, Index depth, Index j, Index width, float *strip) {
  for (Index l = 0; l < depth; ++l)
    for (Index c = 0; c < kColumns; ++c)
      strip[l * kColumns + c] = c < width ? *b.at(l0 + l, j + c) : 0.0F;
}

// R rows of one strip: c[R, width] goes on with `depth` more terms (from zero if fresh).
template <int R>
void block(const Operand &a, Index i, Index l0, Index depth, const float *strip, float *c,
           Index c_stride, Index width, bool fresh) {
  float sum[R][kColumns];
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kColumns; ++j) sum[r][j] = fresh || j >= width ? 0.0F : c[r * c_stride + j];
  const float *row[R];
  for (int r = 0; r < R; ++r) row[r] = a.at(i + r, l0);
  for (Index l = 0; l < depth; ++l) {
    for (int r = 0; r < R; ++r) {
      const float factor = row[r][l * a.column];
#pragma omp simd
      for (int j = 0; j < kColumns; ++j)
        sum[r][j] = std::fma(factor, strip[l * kColumns + j], sum[r][j]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < kColumns; ++j)
      if (j < width) c[r * c_stride + j] = sum[r][j];
}

using Block = void (*)(const Operand &, Index, Index, Index, const float *, float *, Index, Index,
                       bool);
constexpr Block kBlocks[kRows + 1] = {nullptr,  block<1>, block<2>, block<3>,
                                      block<4>, block<5>, block<6>};

} // namespace

void compute(const Tile &tile) {
  const TileShape &s = tile.shape;
  const bool a_turned = s.form == Form::backward_weight, b_turned = s.form == Form::linear;
  const Operand a{static_cast<const float *>(tile.a), a_turned ? 1 : s.k, a_turned ? s.m : 1};
  const Operand b{static_cast<const float *>(tile.b), b_turned ? 1 : s.n, b_turned ? s.k : 1};
  auto *c = static_cast<float *>(tile.c);
  auto *strip =
      static_cast<float *>(thread_memory(Slot::library, sizeof(float) * kDepth * kColumns));
  for (Index l = 0; l < s.k; l += kDepth) {
    const Index depth = std::min(kDepth, s.k - l);
    const bool fresh = l == 0 && !s.accumulate;
    for (Index j = 0; j < s.n; j += kColumns) {
      const Index width = std::min<Index>(kColumns, s.n - j);
      pack(b, l, depth, j, width, strip);
      for (Index i = 0; i < s.m; i += kRows)
        kBlocks[std::min<Index>(kRows, s.m - i)](a, i, l, depth, strip, c + i * s.n + j, s.n, width,
                                                 fresh);
    }
  }
}

} // namespace numerics::plain

// SPDX-License-Identifier: Apache-2.0
#include "numerics/tile.hpp"

#include <array>
#include <cstring>
#include <memory>
#include <new>

#include "numerics/gemm.hpp"

namespace numerics {

namespace {

GemmBody chosen = GemmBody::onednn;

struct Free {
  void operator()(std::byte *p) const { ::operator delete[](p, std::align_val_t(64)); }
};
struct Block {
  std::unique_ptr<std::byte[], Free> bytes;
  std::size_t size = 0;
};

const float *as_float(const void *from, Index count, Slot slot) {
  auto *to =
      static_cast<float *>(thread_memory(slot, static_cast<std::size_t>(count) * sizeof(float)));
  const auto *values = static_cast<const bf16 *>(from);
  for (Index i = 0; i < count; ++i) to[i] = values[i];
  return to;
}

void compute_float(const Tile &tile) {
  if (chosen == GemmBody::kokkos)
    kokkos_kernels::compute(tile);
  else if (chosen == GemmBody::plain || !onednn::keeps_rows(false))
    plain::compute(tile);
  else
    onednn::compute(tile);
}

// Products of bf16 by a float body: every bf16 is a float, products of two are exact, sums are FP32 either way.
void compute_converted(const Tile &tile) {
  const TileShape &s = tile.shape;
  Tile wide = tile;
  wide.shape.in_bf16 = wide.shape.out_bf16 = false;
  wide.a = as_float(tile.a, s.m * s.k, Slot::a);
  wide.b = as_float(tile.b, s.n * s.k, Slot::b);
  if (!s.out_bf16) return compute_float(wide);
  const Index count = s.m * s.n;
  auto *sum =
      static_cast<float *>(thread_memory(Slot::c, static_cast<std::size_t>(count) * sizeof(float)));
  auto *out = static_cast<bf16 *>(tile.c);
  if (s.accumulate)
    for (Index i = 0; i < count; ++i) sum[i] = out[i];
  wide.c = sum;
  compute_float(wide);
  for (Index i = 0; i < count; ++i) out[i] = bf16(sum[i]);
}

// A product with so small an output goes, in oneDNN 2.6 on processors with AMX, to a body of another arithmetic than its taller
// siblings, and its rows would differ from theirs: rows of zeros are added until the output is larger than that.
constexpr Index kSmallOutput = 256;

void compute_taller(const Tile &tile) {
  Tile tall = tile;
  const TileShape &s = tile.shape;
  tall.shape.m = kSmallOutput / s.n + 1;
  const std::size_t row_a = static_cast<std::size_t>(s.k) * sizeof(bf16),
                    row_c = static_cast<std::size_t>(s.n) * (s.out_bf16 ? 2 : 4);
  const auto rows = static_cast<std::size_t>(s.m), all = static_cast<std::size_t>(tall.shape.m);
  auto *a = static_cast<std::byte *>(thread_memory(Slot::a, all * row_a));
  auto *c = static_cast<std::byte *>(thread_memory(Slot::c, all * row_c));
  std::memcpy(a, tile.a, rows * row_a);
  std::memset(a + rows * row_a, 0, (all - rows) * row_a);
  if (s.accumulate) {
    std::memcpy(c, tile.c, rows * row_c);
    std::memset(c + rows * row_c, 0, (all - rows) * row_c);
  }
  tall.a = a, tall.c = c;
  onednn::compute(tall);
  std::memcpy(tile.c, c, rows * row_c);
}

} // namespace

void set_gemm_body(GemmBody body) { chosen = body; }
GemmBody gemm_body() { return chosen; }

void *thread_memory(Slot slot, std::size_t bytes) {
  thread_local std::array<Block, static_cast<std::size_t>(Slot::count)> blocks;
  Block &block = blocks[static_cast<std::size_t>(slot)];
  if (block.size < bytes) {
    block.bytes.reset();
    block.bytes.reset(static_cast<std::byte *>(::operator new[](bytes, std::align_val_t(64))));
    block.size = bytes;
  }
  return block.bytes.get();
}

void compute(const Tile &tile) {
  const TileShape &s = tile.shape;
  if (s.m == 0 || s.n == 0) return;
  if (s.k == 0) {
    if (!s.accumulate)
      std::memset(tile.c, 0, static_cast<std::size_t>(s.m * s.n) * (s.out_bf16 ? 2 : 4));
    return;
  }
  const bool native = chosen == GemmBody::onednn && onednn::keeps_rows(true);
  if (s.in_bf16 && !native)
    compute_converted(tile);
  else if (s.in_bf16 && s.form != Form::backward_weight && s.m * s.n <= kSmallOutput)
    compute_taller(tile);
  else if (s.in_bf16)
    onednn::compute(tile);
  else
    compute_float(tile);
}

} // namespace numerics

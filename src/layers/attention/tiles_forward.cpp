// SPDX-License-Identifier: Apache-2.0
// Forward attention on host tiles. A task is one block of queries of one head; it walks the key blocks from the segment's first
// token. Scores are kept by key and query, s[k][q], so that maxima and sums over keys run along vectors of queries:
//   m' = max(m, max_k s);  p = exp(s - m');  l = l exp(m - m') + sum_k p;  o = o exp(m - m') + p v        at the end o / l, m + log l
#include <algorithm>

#include "layers/attention/bodies.hpp"
#include "layers/attention/tiles.hpp"
#include "numerics/exp.hpp"
#include "tensor/threads.hpp"

namespace layers::attention::tiles {

namespace {

struct QueryBlock {
  Index start, block, rows; // first row of the segment, number of the block in it, rows in the block
};

// One thread's tiles.
struct Tiles {
  float *q, *k, *v, *s, *o; // [M][64], [64][M], [64][Vp], [64 keys][64 queries], [64][Vp]
  float *maximum, *sum, *factor;
  Tiles(float *from, const Index head_dim, const Index value) {
    Scratch scratch(from);
    q = scratch.take(head_dim * kBlock), k = scratch.take(kBlock * head_dim), v = scratch.take(kBlock * padded(value));
    s = scratch.take(kBlock * kBlock), o = scratch.take(kBlock * padded(value));
    maximum = scratch.take(kBlock), sum = scratch.take(kBlock), factor = scratch.take(kBlock);
  }
  static Index floats(const Index head_dim, const Index value) { return 2 * kBlock * head_dim + 2 * kBlock * padded(value) + kBlock * kBlock + 3 * kBlock; }
};

// The blocks of all segments, longest walks first.
Vec<QueryBlock> list_blocks(Context &ctx, const Segments &segments) {
  const auto &start = segments.start_host;
  Index count = 0, longest = 0;
  for (Index s = 0; s < segments.count(); ++s) {
    const Index rows = start(s + 1) - start(s);
    count += (rows + kBlock - 1) / kBlock;
    longest = std::max(longest, (rows + kBlock - 1) / kBlock);
  }
  const Vec<QueryBlock> blocks = ctx.arena.vec<QueryBlock>(count);
  Index next = 0;
  for (Index b = longest - 1; b >= 0; --b) {
    for (Index s = 0; s < segments.count(); ++s) {
      const Index rest = start(s + 1) - start(s) - b * kBlock;
      if (rest > 0) blocks(next++) = QueryBlock{start(s), b, std::min(rest, kBlock)};
    }
  }
  return blocks;
}

// s -> p in place, the running maximum and sum, and the factor of what was summed before.
void soften(const Tiles &t, const bool diagonal) {
  float best[kBlock];
  for (Index q = 0; q < kBlock; ++q) best[q] = t.maximum[q];
  for (int k = 0; k < kBlock; ++k) {
    const float *s = t.s + k * kBlock;
    const int first = diagonal ? k : 0; // query q sees key k from q = k on
    for (int q = 0; q < kBlock; ++q) {
      const float v = q >= first ? s[q] : -HUGE_VALF;
      best[q] = v > best[q] ? v : best[q];
    }
  }
  for (Index q = 0; q < kBlock; ++q) {
    t.factor[q] = numerics::fast_exp(t.maximum[q] - best[q]);
    t.maximum[q] = best[q];
  }
  float sum[kBlock] = {};
  for (int k = 0; k < kBlock; ++k) {
    float *s = t.s + k * kBlock;
    const int first = diagonal ? k : 0;
#pragma GCC ivdep
    for (int q = 0; q < kBlock; ++q) {
      const float p = numerics::fast_exp(s[q] - best[q]);
      s[q] = q >= first ? p : 0.0F;
      sum[q] += s[q];
    }
  }
  for (Index q = 0; q < kBlock; ++q) t.sum[q] = fmaf(t.sum[q], t.factor[q], sum[q]);
}

template <class A> void attend(const Inputs<A> &in, const Cube<A> &o_THV, const Mat<float> &lse_TH, const QueryBlock &block, const Index h, const Tiles &t) {
  const Index dim = in.head_dim(), value = in.value(), wide = padded(value);
  const Index first = block.start + block.block * kBlock;
  pack_transposed(&in.q_THM(first, h, 0), in.heads() * dim, block.rows, dim, in.scale, t.q);
  zero(t.o, kBlock * wide);
  zero(t.v, kBlock * wide);
  zero(t.sum, kBlock);
  for (Index q = 0; q < kBlock; ++q) t.maximum[q] = -HUGE_VALF;
  for (Index b = 0; b <= block.block; ++b) {
    const bool diagonal = b == block.block;
    const Index key = block.start + b * kBlock, keys = diagonal ? block.rows : kBlock;
    pack(&in.kv_THX(key, h, 0), in.heads() * (in.nope + value), keys, in.nope, 1.0F, t.k, dim, kBlock);
    pack(in.k_rope_TR.data() + key * in.rope(), in.rope(), keys, in.rope(), 1.0F, t.k + in.nope, dim, kBlock);
    pack(in.kv_THX.data() + ((key * in.heads() + h) * (in.nope + value) + in.nope), in.heads() * (in.nope + value), keys, value, 1.0F, t.v, wide, kBlock);
    product<Lie::rows, Into::store>(diagonal ? Part::upper : Part::all, kBlock, block.rows, dim, {t.k, dim}, {t.q, kBlock}, {t.s, kBlock}); // (1)
    soften(t, diagonal);                                                                                                                    // (2)
    product<Lie::columns, Into::scale_add>(diagonal ? Part::depth_to_row : Part::all, block.rows, value, kBlock, {t.s, kBlock}, {t.v, wide}, {t.o, wide}, t.factor); // (3)
  }
  for (Index q = 0; q < block.rows; ++q) {
    A *o = &o_THV(first + q, h, 0);
    const float *from = t.o + q * wide;
    const float weight = 1.0F / t.sum[q];
#pragma GCC ivdep
    for (Index i = 0; i < value; ++i) o[i] = A(from[i] * weight);
    lse_TH(first + q, h) = t.maximum[q] + logf(t.sum[q]);
  }
}

} // namespace

template <class A> void forward(Context &ctx, const Inputs<A> &in, const Cube<A> o_THV, const Mat<float> lse_TH) {
  if constexpr (kAvailable) {
    const tensor::Arena::Scope scope(ctx.arena);
    const Index heads = in.heads(), dim = in.head_dim(), value = in.value();
    const Vec<QueryBlock> blocks = list_blocks(ctx, in.segments);
    const Mat<float> scratch = ctx.arena.mat<float>(tensor::host_threads(), Tiles::floats(dim, value));
    tensor::for_tasks(ctx, "layers::attention::forward", static_cast<Index>(blocks.extent(0)) * heads, [=](const tensor::Row &, const Index task) {
      const tensor::HostSlot slot;
      attend(in, o_THV, lse_TH, blocks(task / heads), task % heads, Tiles(&scratch(slot.index(), 0), dim, value));
    });
  }
}

template void forward(Context &, const Inputs<float> &, Cube<float>, Mat<float>);
template void forward(Context &, const Inputs<bf16> &, Cube<bf16>, Mat<float>);

} // namespace layers::attention::tiles

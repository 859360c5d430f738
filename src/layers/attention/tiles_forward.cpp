// SPDX-License-Identifier: Apache-2.0
// Forward attention on host tiles. A task is a group of query blocks of one head, which share the packing of the keys; it walks the
// key blocks from the segment's first token. Scores are kept by key and query, s[k][q], so that maxima and sums over keys run along vectors of queries:
//   m' = max(m, max_k s);  p = exp(s - m');  l = l exp(m - m') + sum_k p;  o = o exp(m - m') + p v        at the end o / l, m + log l
#include <algorithm>

#include "layers/attention/bodies.hpp"
#include "layers/attention/tiles.hpp"
#include "numerics/exp.hpp"
#include "tensor/threads.hpp"

namespace layers::attention::tiles {

namespace {

constexpr Index kGroup = 4; // query blocks of a task

struct QueryGroup {
  Index start, block,
      rows; // first row of the segment, number of the first block in it, rows in the group
};

// Tiles of one query block.
struct Query {
  float *q, *o;                            // [M][64], [64][Vp]
  float *maximum, *sum, *factor, *nothing; // nothing: zeros
};

// One thread's tiles.
struct Tiles {
  Query query[kGroup];
  float *k, *v, *s; // [64][M], [64][Vp], [64 keys][64 queries]
  Tiles(float *from, const Index head_dim, const Index value) {
    Scratch scratch(from);
    k = scratch.take(kBlock * head_dim), v = scratch.take(kBlock * padded(value)),
    s = scratch.take(kBlock * kBlock);
    for (Query &t : query) {
      t.q = scratch.take(head_dim * kBlock), t.o = scratch.take(kBlock * padded(value));
      t.maximum = scratch.take(kBlock), t.sum = scratch.take(kBlock),
      t.factor = scratch.take(kBlock), t.nothing = scratch.take(kBlock);
    }
  }
  static Index floats(const Index head_dim, const Index value) {
    return kBlock * ((kGroup + 1) * (head_dim + padded(value)) + kBlock + 4 * kGroup);
  }
};

// The groups of all segments, longest walks first.
Vec<QueryGroup> list_groups(Context &ctx, const Segments &segments) {
  constexpr Index kRows = kGroup * kBlock;
  const auto &start = segments.start_host;
  Index count = 0, longest = 0;
  for (Index s = 0; s < segments.count(); ++s) {
    const Index groups = (start(s + 1) - start(s) + kRows - 1) / kRows;
    count += groups;
    longest = std::max(longest, groups);
  }
  const Vec<QueryGroup> list = ctx.arena.vec<QueryGroup>(count);
  Index next = 0;
  for (Index g = longest - 1; g >= 0; --g) {
    for (Index s = 0; s < segments.count(); ++s) {
      const Index rest = start(s + 1) - start(s) - g * kRows;
      if (rest > 0) list(next++) = QueryGroup{start(s), g * kGroup, std::min(rest, kRows)};
    }
  }
  return list;
}

// s -> p in place, the running maximum and sum, and the factor of what was summed before. By strips of queries, whose maxima
// and sums stay in registers; on the diagonal block query q sees key k from q = k on.
template <bool diagonal> void soften(float *const scores, const Query &t) {
  constexpr int kStrip = 32;
  for (int q0 = 0; q0 < kBlock; q0 += kStrip) {
    float *maximum = t.maximum + q0, *total = t.sum + q0;
    alignas(64) float best[kStrip], sum[kStrip];
    for (int q = 0; q < kStrip; ++q) best[q] = maximum[q] + 0.0F, sum[q] = 0;
    const int keys = diagonal ? q0 + kStrip : static_cast<int>(kBlock);
    for (int k = 0; k < keys; ++k) {
      const float *s = scores + k * kBlock + q0;
      const int first = k - q0;
      for (int q = 0; q < kStrip; ++q) {
        const float v = !diagonal || q >= first ? s[q] : -HUGE_VALF;
        best[q] = v > best[q] ? v : best[q];
      }
    }
    for (int k = 0; k < keys; ++k) {
      float *s = scores + k * kBlock + q0;
      const int first = k - q0;
#pragma GCC ivdep
      for (int q = 0; q < kStrip; ++q) {
        const float p = numerics::fast_exp(s[q] - best[q]);
        s[q] = !diagonal || q >= first ? p : 0.0F;
        sum[q] += s[q];
      }
    }
    for (int q = 0; q < kStrip; ++q) {
      t.factor[q0 + q] = numerics::fast_exp(maximum[q] - best[q]);
      total[q] = fmaf(total[q], t.factor[q0 + q], sum[q]);
      maximum[q] = best[q] + 0.0F;
    }
  }
}

template <class A>
void begin(const Inputs<A> &in, const Index first, const Index rows, const Index h, const Query &t,
           float *const spare) {
  pack_transposed(&in.q_THM(first, h, 0), in.heads() * in.head_dim(), rows, in.head_dim(), in.scale,
                  t.q, spare);
  zero(t.o, kBlock * padded(in.value())), zero(t.sum, kBlock), zero(t.nothing, kBlock);
  for (Index q = 0; q < kBlock; ++q) t.maximum[q] = -HUGE_VALF;
}

// One block of queries takes in the block of keys in the tiles.
template <bool diagonal>
void take_in(const Tiles &tiles, const Query &t, const Index rows, const Index dim,
             const Index value) {
  const Index wide = padded(value);
  product<Lie::rows, Into::subtract>(diagonal ? Part::upper : Part::all, kBlock, rows, dim,
                                     {tiles.k, dim}, {t.q, kBlock}, {tiles.s, kBlock},
                                     t.nothing); // (1)
  soften<diagonal>(tiles.s, t);                  // (2)
  product<Lie::columns, Into::scale>(diagonal ? Part::depth_to_row : Part::all, rows, value, kBlock,
                                     {tiles.s, kBlock}, {tiles.v, wide}, {t.o, wide},
                                     t.factor); // (3)
}

template <class A>
void finish(const Query &t, const Cube<A> &o_THV, const Mat<float> &lse_TH, const Index first,
            const Index rows, const Index h) {
  const Index value = o_THV.extent(2), wide = padded(value);
  for (Index q = 0; q < rows; ++q) {
    A *o = &o_THV(first + q, h, 0);
    const float *from = t.o + q * wide;
    const float weight = 1.0F / t.sum[q];
#pragma GCC ivdep
    for (Index i = 0; i < value; ++i) o[i] = A(from[i] * weight);
    lse_TH(first + q, h) = t.maximum[q] + logf(t.sum[q]);
  }
}

template <class A>
void attend(const Inputs<A> &in, const Cube<A> &o_THV, const Mat<float> &lse_TH,
            const QueryGroup &group, const Index h, const Tiles &tiles) {
  const Index dim = in.head_dim(), value = in.value(), kv_stride = in.heads() * (in.nope + value);
  const Index first = group.start + group.block * kBlock,
              blocks = (group.rows + kBlock - 1) / kBlock;
  const auto rows_of = [&](const Index i) { return std::min(kBlock, group.rows - i * kBlock); };
  for (Index i = 0; i < blocks; ++i)
    begin(in, first + i * kBlock, rows_of(i), h, tiles.query[i], tiles.k);
  zero(tiles.v, kBlock * padded(value)); // columns of padding
  for (Index b = 0; b < group.block + blocks; ++b) {
    const Index key = group.start + b * kBlock,
                own = b - group.block; // the query block on the diagonal, if it is in the group
    const Index keys = own < 0 ? kBlock : rows_of(own);
    const A *k = &in.kv_THX(key, h, 0);
    pack(k, kv_stride, keys, in.nope, 1.0F, tiles.k, dim, kBlock);
    pack(in.k_rope_TR.data() + key * in.rope(), in.rope(), keys, in.rope(), 1.0F, tiles.k + in.nope,
         dim, kBlock);
    pack(k + in.nope, kv_stride, keys, value, 1.0F, tiles.v, padded(value), kBlock);
    if (own >= 0) take_in<true>(tiles, tiles.query[own], rows_of(own), dim, value);
    for (Index i = std::max<Index>(own + 1, 0); i < blocks; ++i)
      take_in<false>(tiles, tiles.query[i], rows_of(i), dim, value);
  }
  for (Index i = 0; i < blocks; ++i)
    finish(tiles.query[i], o_THV, lse_TH, first + i * kBlock, rows_of(i), h);
}

} // namespace

template <class A>
void forward(Context &ctx, const Inputs<A> &in, const Cube<A> o_THV, const Mat<float> lse_TH) {
  if constexpr (kAvailable) {
    const tensor::Arena::Scope scope(ctx.arena);
    const Index heads = in.heads(), dim = in.head_dim(), value = in.value();
    const Vec<QueryGroup> groups = list_groups(ctx, in.segments);
    const Mat<float> scratch =
        ctx.arena.mat<float>(tensor::host_threads(), Tiles::floats(dim, value));
    tensor::for_tasks(ctx, "layers::attention::forward",
                      static_cast<Index>(groups.extent(0)) * heads,
                      [=](const tensor::Row &, const Index task) {
                        const tensor::HostSlot slot;
                        attend(in, o_THV, lse_TH, groups(task / heads), task % heads,
                               Tiles(&scratch(slot.index(), 0), dim, value));
                      });
  }
}

// A segment of one row makes a group of its own.
std::size_t forward_bytes(const Index tokens, const Index head_dim, const Index value) {
  return tensor::Arena::padded(tokens * sizeof(QueryGroup)) +
         tensor::Arena::padded(tensor::host_threads() * Tiles::floats(head_dim, value) *
                               sizeof(float));
}

template void forward(Context &, const Inputs<float> &, Cube<float>, Mat<float>);
template void forward(Context &, const Inputs<bf16> &, Cube<bf16>, Mat<float>);

} // namespace layers::attention::tiles

// SPDX-License-Identifier: Apache-2.0
// Reverse attention on host tiles. A task is one head of one segment: pairs of key blocks outside, which share the packing of the
// queries, query blocks inside, everything in order, so that dq, dk and dv are summed by one thread. The scores come again bit for bit (same order over the head dim), and
//   p = exp(s - lse)     dv += p^T do     ds = p (do v^T - delta)     dk += ds^T (scale q)     dq += ds k, times scale at the end
#include <algorithm>

#include "layers/attention/bodies.hpp"
#include "layers/attention/tiles.hpp"
#include "numerics/exp.hpp"
#include "tensor/threads.hpp"

namespace layers::attention::tiles {

namespace {

constexpr Index kGroup = 2; // key blocks walked together

// Tiles of one key block. Mp, Vp: padded.
struct Key {
  float *k, *k_columns, *v_columns, *dk, *dv; // [64][Mp], [M][64], [V][64], [64][Mp], [64][Vp]
};

// One thread's tiles. Sp: rows of the longest segment, in whole blocks.
struct Tiles {
  float *dq, *lse, *delta; // [Sp][Mp], [Sp], [Sp]
  Key key[kGroup];
  float *q, *d_o, *p, *ds; // [64][Mp], [64][Vp], and [64 queries][64 keys] twice
  float *spare;            // [64][max(M, V)]
  Tiles(float *from, const Index head_dim, const Index value, const Index longest) {
    const Index mp = padded(head_dim), vp = padded(value);
    Scratch scratch(from);
    dq = scratch.take(longest * mp), lse = scratch.take(longest), delta = scratch.take(longest);
    for (Key &t : key) {
      t.k = scratch.take(kBlock * mp), t.k_columns = scratch.take(head_dim * kBlock),
      t.v_columns = scratch.take(value * kBlock);
      t.dk = scratch.take(kBlock * mp), t.dv = scratch.take(kBlock * vp);
    }
    q = scratch.take(kBlock * mp), d_o = scratch.take(kBlock * vp);
    p = scratch.take(kBlock * kBlock), ds = scratch.take(kBlock * kBlock);
    spare = scratch.take(kBlock * std::max(head_dim, value));
  }
  static Index floats(const Index head_dim, const Index value, const Index longest) {
    const Index mp = padded(head_dim), vp = padded(value);
    return longest * (mp + 2) + kBlock * (kGroup * (2 * mp + vp + head_dim + value) + mp + vp +
                                          2 * kBlock + std::max(head_dim, value));
  }
};

// p (holding s - lse) and ds (holding do v^T - delta) of one block pair. (2')
void reverse_softmax(const Tiles &t, const int rows, const bool diagonal) {
  for (int q = 0; q < rows; ++q) {
    float *p = t.p + q * kBlock, *ds = t.ds + q * kBlock;
    const int last = diagonal ? q : kBlock; // query q sees keys up to q
#pragma GCC ivdep
    for (int k = 0; k < kBlock; ++k) {
      const float weight = numerics::fast_exp(p[k]);
      const float slope = weight * ds[k];
      p[k] = k <= last ? weight : 0.0F;
      ds[k] = k <= last ? slope : 0.0F;
    }
  }
}

// lse and delta of the segment's rows; zero beyond, where q and do are zero too.
template <class A>
void prepare(const Reverse<A> &r, const Index start, const Index rows, const Index padded_rows,
             const Index h, const Index value, const Tiles &t) {
  for (Index i = 0; i < padded_rows; ++i) {
    t.lse[i] = i < rows ? r.lse_TH(start + i, h) : 0.0F;
    if (i < rows) {
      const A *d_o = &r.do_THV(start + i, h, 0), *o = &r.o_THV(start + i, h, 0);
      t.delta[i] = tensor::row_sum(tensor::HostRow{}, value, [=](const Index v) {
        return static_cast<float>(d_o[v]) * static_cast<float>(o[v]);
      });
    } else {
      t.delta[i] = 0;
    }
  }
}

template <class A>
void begin(const Inputs<A> &in, const Index key, const Index keys, const Index h, const Key &t,
           float *const spare) {
  const Index dim = in.head_dim(), value = in.value(), mp = padded(dim),
              kv_stride = in.heads() * (in.nope + value);
  const A *k = &in.kv_THX(key, h, 0), *v = k + in.nope,
          *k_rope = in.k_rope_TR.data() + key * in.rope();
  zero(t.k, kBlock * mp); // columns of padding
  pack(k, kv_stride, keys, in.nope, 1.0F, t.k, mp, kBlock);
  pack(k_rope, in.rope(), keys, in.rope(), 1.0F, t.k + in.nope, mp, kBlock);
  pack_transposed(k, kv_stride, keys, in.nope, 1.0F, t.k_columns, spare);
  pack_transposed(k_rope, in.rope(), keys, in.rope(), 1.0F, t.k_columns + in.nope * kBlock, spare);
  pack_transposed(v, kv_stride, keys, value, 1.0F, t.v_columns, spare);
  zero(t.dk, kBlock * mp), zero(t.dv, kBlock * padded(value));
}

// One block of keys against the block of queries in the tiles, which starts at row `query` of the segment.
void visit(const Tiles &tiles, const Key &t, const Index query, const Index rows, const Index keys,
           const bool diagonal, const Index dim, const Index value) {
  const Index mp = padded(dim), vp = padded(value);
  const Operand q{tiles.q, mp}, d_o{tiles.d_o, vp}, p{tiles.p, kBlock}, ds{tiles.ds, kBlock};
  const Part scores = diagonal ? Part::lower : Part::all,
             over_queries = diagonal ? Part::depth_from_row : Part::all;
  product<Lie::rows, Into::subtract>(scores, rows, keys, dim, q, {t.k_columns, kBlock},
                                     {tiles.p, kBlock}, tiles.lse + query); // (1)
  product<Lie::rows, Into::subtract>(scores, rows, keys, value, d_o, {t.v_columns, kBlock},
                                     {tiles.ds, kBlock}, tiles.delta + query); // (3')
  reverse_softmax(tiles, static_cast<int>(rows), diagonal);
  product<Lie::columns, Into::add>(over_queries, keys, value, rows, p, d_o, {t.dv, vp}); // (3')
  product<Lie::columns, Into::add>(over_queries, keys, dim, rows, ds, q, {t.dk, mp});    // (1')
  product<Lie::rows, Into::add>(diagonal ? Part::depth_to_row : Part::all, rows, dim, keys, ds,
                                {t.k, mp}, {tiles.dq + query * mp, mp});
}

template <class A>
void finish(const Inputs<A> &in, const Reverse<A> &r, const Index key, const Index keys,
            const Index h, const Key &t) {
  const Index mp = padded(in.head_dim()), value = in.value(), vp = padded(value);
  for (Index k = 0; k < keys; ++k) {
    A *dkv = &r.dkv_THX(key + k, h, 0);
    float *dk_rope = r.dk_rope_THR.data() + ((key + k) * in.heads() + h) * in.rope();
    const float *dk = t.dk + k * mp, *dv = t.dv + k * vp;
    for (Index i = 0; i < in.nope; ++i) dkv[i] = A(dk[i]);
    for (Index i = 0; i < value; ++i) dkv[in.nope + i] = A(dv[i]);
    for (Index i = 0; i < in.rope(); ++i) dk_rope[i] = dk[in.nope + i];
  }
}

template <class A>
void reverse_head(const Inputs<A> &in, const Reverse<A> &r, const Index start, const Index rows,
                  const Index h, const Tiles &t) {
  const Index dim = in.head_dim(), value = in.value(), mp = padded(dim), vp = padded(value);
  const Index blocks = (rows + kBlock - 1) / kBlock;
  const auto rows_of = [&](const Index block) { return std::min(kBlock, rows - block * kBlock); };
  prepare(r, start, rows, blocks * kBlock, h, value, t);
  zero(t.dq, blocks * kBlock * mp);
  zero(t.q, kBlock * mp), zero(t.d_o, kBlock * vp); // columns of padding
  for (Index key = 0; key < blocks; key += kGroup) {
    const Index here = std::min(kGroup, blocks - key);
    for (Index i = 0; i < here; ++i)
      begin(in, start + (key + i) * kBlock, rows_of(key + i), h, t.key[i], t.spare);
    for (Index query = key; query < blocks; ++query) {
      const Index first = start + query * kBlock;
      pack(&in.q_THM(first, h, 0), in.heads() * dim, rows_of(query), dim, in.scale, t.q, mp,
           kBlock);
      pack(&r.do_THV(first, h, 0), in.heads() * value, rows_of(query), value, 1.0F, t.d_o, vp,
           kBlock);
      for (Index i = 0; i < here && key + i <= query; ++i)
        visit(t, t.key[i], query * kBlock, rows_of(query), rows_of(key + i), query == key + i, dim,
              value);
    }
    for (Index i = 0; i < here; ++i)
      finish(in, r, start + (key + i) * kBlock, rows_of(key + i), h, t.key[i]);
  }
  for (Index q = 0; q < rows; ++q) {
    A *dq = &r.dq_THM(start + q, h, 0);
    const float *from = t.dq + q * mp;
#pragma GCC ivdep
    for (Index i = 0; i < dim; ++i) dq[i] = A(from[i] * in.scale);
  }
}

} // namespace

template <class A> void backward(Context &ctx, const Inputs<A> &in, const Reverse<A> &reverse) {
  if constexpr (kAvailable) {
    const tensor::Arena::Scope scope(ctx.arena);
    const Index heads = in.heads(), dim = in.head_dim(), value = in.value(),
                count = in.segments.count();
    const auto start = in.segments.start_host;
    const Vec<Index> order = ctx.arena.vec<Index>(count); // longest segments first
    for (Index s = 0; s < count; ++s) order(s) = s;
    std::sort(order.data(), order.data() + count, [&](const Index a, const Index b) {
      const Index rows_a = start(a + 1) - start(a), rows_b = start(b + 1) - start(b);
      return rows_a != rows_b ? rows_a > rows_b : a < b;
    });
    const Index longest =
        count > 0 ? (start(order(0) + 1) - start(order(0)) + kBlock - 1) / kBlock * kBlock : 0;
    const Mat<float> scratch =
        ctx.arena.mat<float>(tensor::host_threads(), Tiles::floats(dim, value, longest));
    tensor::for_tasks(ctx, "layers::attention::backward", count * heads,
                      [=](const tensor::Row &, const Index task) {
                        const Index s = order(task / heads);
                        const tensor::HostSlot slot;
                        reverse_head(in, reverse, start(s), start(s + 1) - start(s), task % heads,
                                     Tiles(&scratch(slot.index(), 0), dim, value, longest));
                      });
  }
}

std::size_t backward_bytes(const Index tokens, const Index longest, const Index head_dim,
                           const Index value) {
  const Index rows = (longest + kBlock - 1) / kBlock * kBlock;
  return tensor::Arena::padded(tokens * sizeof(Index)) +
         tensor::Arena::padded(tensor::host_threads() * Tiles::floats(head_dim, value, rows) *
                               sizeof(float));
}

template void backward(Context &, const Inputs<float> &, const Reverse<float> &);
template void backward(Context &, const Inputs<bf16> &, const Reverse<bf16> &);

} // namespace layers::attention::tiles

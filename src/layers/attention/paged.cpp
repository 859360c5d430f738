// SPDX-License-Identifier: Apache-2.0
// A task is (tile, head). A tile of several rows of a sequence goes as the trainer's does, 64 queries and 64 keys at a time, with a
// number of visible keys for each query in place of the diagonal. A single row would leave most of such a tile empty: its scores run
// along the keys instead. Both add the same products in the same order (attention.hpp), so which one runs is a matter of speed.
#include "layers/attention/paged.hpp"

#include <algorithm>

#include "layers/attention/bodies.hpp"
#include "layers/attention/tiles.hpp"
#include "numerics/exp.hpp"
#include "tensor/threads.hpp"

namespace layers::attention {

namespace {

using namespace tiles;
static_assert(kAvailable, "attention over pages is written for the host");

constexpr Index kNarrow = 3; // rows of a piece up to which single rows are faster than a tile

struct Tile {
  Index piece, offset, rows; // rows offset .. of the piece
};

// One thread's arrays: of a tile, or of a single row (k, spare, s, o).
struct Room {
  float *q, *k, *v, *s, *o,
      *spare; // [M][64], [64][M] or [M][64], [64][Vp], [keys][queries], [64][Vp]
  float *maximum, *total, *factor, *nothing;
  Room(float *from, const Index head_dim, const Index value) {
    Scratch scratch(from);
    q = scratch.take(kBlock * head_dim), k = scratch.take(kBlock * head_dim),
    spare = scratch.take(kBlock * head_dim), v = scratch.take(kBlock * padded(value)),
    o = scratch.take(kBlock * padded(value)), s = scratch.take(kBlock * kBlock),
    maximum = scratch.take(kBlock), total = scratch.take(kBlock), factor = scratch.take(kBlock),
    nothing = scratch.take(kBlock);
  }
  static Index floats(const Index head_dim, const Index value) {
    return kBlock * (3 * head_dim + 2 * padded(value) + kBlock + 4);
  }
};

// What a task needs to know beside its tile.
template <class A> struct Job {
  const PagedInputs<A> &in;
  bool begins, ends;
  const Carried &carried;
  const Cube<A> &o_THV;
  Index h;

  Index head_dim() const { return in.q_THM.extent(2); }
  Index rope() const { return in.key_PJR.extent(2); }
  Index value() const { return o_THV.extent(2); }
  Index stride() const { return in.kv_SX.extent(1); } // of rows of keys and values
  const A *kv(const Index place) const {
    return in.kv_SX.data() + (place - in.first) * kBlock * stride() + h * (in.nope + value());
  }
  const A *key(const Index page) const { return in.key_PJR.data() + page * kBlock * rope(); }
};

Vec<Tile> list_tiles(Context &ctx, const Vec<const Piece> &piece_I) {
  const auto count_of = [](const Piece &p) {
    return p.rows <= kNarrow ? p.rows : (p.rows + kBlock - 1) / kBlock;
  };
  Index count = 0, next = 0;
  const auto pieces = static_cast<Index>(piece_I.extent(0));
  for (Index i = 0; i < pieces; ++i) count += count_of(piece_I(i));
  const Vec<Tile> list = ctx.arena.vec<Tile>(count);
  for (Index i = 0; i < pieces; ++i) {
    const Index rows = piece_I(i).rows, height = rows <= kNarrow ? 1 : kBlock;
    for (Index at = 0; at < rows; at += height)
      list(next++) = Tile{i, at, std::min(height, rows - at)};
  }
  return list;
}

// f(block, place, page) for the blocks of a sequence up to the one of `last` whose keys are in this round.
template <class A, class F>
void for_blocks(const Job<A> &job, const Piece &piece, const Index last, const F &f) {
  const Index *place = job.in.place_B.data() + piece.table,
              *page = job.in.page_B.data() + piece.table;
  for (Index b = 0; b * kBlock <= last; ++b)
    if (place[b] >= job.in.first && place[b] < job.in.first + job.in.count) f(b, place[b], page[b]);
}

// --- a tile of queries --------------------------------------------------------------------------------------------

// s -> p in place, running maximum and sum, and the factor of what was summed before; query q sees keys below visible[q].
void soften(const Room &room, const int *visible, const int keys) {
  constexpr int kStrip = 32;
  for (int q0 = 0; q0 < kBlock; q0 += kStrip) {
    float *maximum = room.maximum + q0, *total = room.total + q0, *factor = room.factor + q0;
    const int *seen = visible + q0;
    alignas(64) float best[kStrip], sum[kStrip];
    for (int q = 0; q < kStrip; ++q) best[q] = maximum[q] + 0.0F, sum[q] = 0;
    for (int k = 0; k < keys; ++k) {
      const float *s = room.s + k * kBlock + q0;
      for (int q = 0; q < kStrip; ++q) {
        const float v = k < seen[q] ? s[q] : -HUGE_VALF;
        best[q] = v > best[q] ? v : best[q];
      }
    }
    for (int k = 0; k < keys; ++k) {
      float *s = room.s + k * kBlock + q0;
#pragma GCC ivdep
      for (int q = 0; q < kStrip; ++q) {
        const float p = numerics::fast_exp(s[q] - best[q]);
        s[q] = k < seen[q] ? p : 0.0F;
        sum[q] += s[q];
      }
    }
    for (int q = 0; q < kStrip; ++q) {
      factor[q] = numerics::fast_exp(maximum[q] - best[q]);
      total[q] = fmaf(total[q], factor[q], sum[q]);
      maximum[q] = best[q] + 0.0F;
    }
  }
}

template <class A>
void begin(const Job<A> &job, const Room &room, const Index row, const Index rows) {
  const Index wide = padded(job.value()), dim = job.head_dim();
  pack_transposed(&job.in.q_THM(row, job.h, 0), static_cast<Index>(job.in.q_THM.extent(1)) * dim,
                  rows, dim, job.in.scale, room.q, room.spare);
  zero(room.o, kBlock * wide), zero(room.total, kBlock), zero(room.nothing, kBlock);
  zero(room.v, kBlock * wide); // columns of padding
  for (Index q = 0; q < kBlock; ++q) room.maximum[q] = -HUGE_VALF;
  if (job.begins) return;
  for (Index q = 0; q < rows; ++q) {
    room.maximum[q] = job.carried.maximum_TH(row + q, job.h);
    room.total[q] = job.carried.total_TH(row + q, job.h);
    std::copy_n(&job.carried.sum_THV(row + q, job.h, 0), job.value(), room.o + q * wide);
  }
}

// One row's result, or what is carried on.
template <class A>
void finish(const Job<A> &job, const Index row, const float *sum, const float maximum,
            const float total) {
  const Index value = job.value();
  if (!job.ends) {
    job.carried.maximum_TH(row, job.h) = maximum, job.carried.total_TH(row, job.h) = total;
    std::copy_n(sum, value, &job.carried.sum_THV(row, job.h, 0));
    return;
  }
  A *o = &job.o_THV(row, job.h, 0);
  const float weight = 1.0F / total;
#pragma GCC ivdep
  for (Index i = 0; i < value; ++i) o[i] = A(sum[i] * weight);
}

template <class A> void attend(const Job<A> &job, const Tile &tile, const Room &room) {
  const Piece &piece = job.in.piece_I(tile.piece);
  const Index row = piece.row + tile.offset, position = piece.position + tile.offset,
              last = position + tile.rows - 1, dim = job.head_dim(), value = job.value(),
              nope = job.in.nope, wide = padded(value);
  begin(job, room, row, tile.rows);
  for_blocks(job, piece, last, [&](const Index b, const Index place, const Index page) {
    const Index keys = std::min(kBlock, last - b * kBlock + 1);
    const A *k = job.kv(place);
    pack(k, job.stride(), keys, nope, 1.0F, room.k, dim, kBlock);
    pack(job.key(page), job.rope(), keys, job.rope(), 1.0F, room.k + nope, dim, kBlock);
    pack(k + nope, job.stride(), keys, value, 1.0F, room.v, wide, kBlock);
    int visible[kBlock];
    for (Index q = 0; q < kBlock; ++q)
      visible[q] = static_cast<int>(
          std::clamp<Index>(position + std::min(q, tile.rows - 1) - b * kBlock + 1, 0, kBlock));
    product<Lie::rows, Into::subtract>(Part::all, kBlock, tile.rows, dim, {room.k, dim},
                                       {room.q, kBlock}, {room.s, kBlock}, room.nothing); // (1)
    soften(room, visible, static_cast<int>(keys));                                        // (2)
    product<Lie::columns, Into::scale>(Part::all, tile.rows, value, keys, {room.s, kBlock},
                                       {room.v, wide}, {room.o, wide}, room.factor); // (3)
  });
  for (Index q = 0; q < tile.rows; ++q)
    finish(job, row + q, room.o + q * wide, room.maximum[q], room.total[q]);
}

// --- one query ----------------------------------------------------------------------------------------------------

// Keys as columns [width][64]; the rows behind the last token are whatever the page holds, and are not looked at.
template <class A>
void columns(const A *from, const Index stride, const Index width, float *to, float *spare) {
  pack_transposed(from, stride, kBlock, width, 1.0F, to, spare);
}

// (3) of one row: o = o factor + sum of p v over the keys, in strips of columns.
template <class A>
void add_values(const A *v, const Index stride, const Index keys, const Index value,
                const float factor, const float *p, float *o) {
  for (Index j0 = 0; j0 < value; j0 += kCols) {
    const Index width = std::min(kCols, value - j0);
    alignas(64) float sum[kCols] = {};
    for (Index k = 0; k < keys; ++k) {
      const A *from = v + k * stride + j0;
      const float x = p[k];
      if (width == kCols) {
#pragma GCC ivdep
        for (Index j = 0; j < kCols; ++j) sum[j] = fmaf(x, static_cast<float>(from[j]), sum[j]);
      } else {
        for (Index j = 0; j < width; ++j) sum[j] = fmaf(x, static_cast<float>(from[j]), sum[j]);
      }
    }
    for (Index j = 0; j < width; ++j) o[j0 + j] = fmaf(o[j0 + j], factor, sum[j]);
  }
}

// (1) of one row: 64 scores out of keys as columns.
inline void scores(const float *q, const float *k, const Index dim, float *s) {
  alignas(64) float sum[kBlock] = {};
  for (Index i = 0; i < dim; ++i) {
    const float x = q[i];
#pragma GCC ivdep
    for (Index j = 0; j < kBlock; ++j) sum[j] = fmaf(k[i * kBlock + j], x, sum[j]);
  }
  for (Index j = 0; j < kBlock; ++j) s[j] = sum[j];
}

template <class A> void attend_one(const Job<A> &job, const Tile &tile, const Room &room) {
  const Piece &piece = job.in.piece_I(tile.piece);
  const Index row = piece.row + tile.offset, last = piece.position + tile.offset,
              dim = job.head_dim(), value = job.value(), nope = job.in.nope;
  const A *query = &job.in.q_THM(row, job.h, 0);
  for (Index i = 0; i < dim; ++i) room.q[i] = static_cast<float>(query[i]) * job.in.scale;
  float maximum = -HUGE_VALF, total = 0;
  zero(room.o, value);
  if (!job.begins) {
    maximum = job.carried.maximum_TH(row, job.h), total = job.carried.total_TH(row, job.h);
    std::copy_n(&job.carried.sum_THV(row, job.h, 0), value, room.o);
  }
  float *s = room.s;
  for_blocks(job, piece, last, [&](const Index b, const Index place, const Index page) {
    const Index keys = std::min(kBlock, last - b * kBlock + 1);
    const A *k = job.kv(place);
    columns(k, job.stride(), nope, room.k, room.spare);
    columns(job.key(page), job.rope(), job.rope(), room.k + nope * kBlock, room.spare);
    scores(room.q, room.k, dim, s); // (1)
    float best = maximum + 0.0F, sum = 0;
    for (Index j = 0; j < keys; ++j) best = s[j] > best ? s[j] : best;
#pragma GCC ivdep
    for (Index j = 0; j < kBlock; ++j) s[j] = numerics::fast_exp(s[j] - best); // (2)
    for (Index j = 0; j < keys; ++j) sum += s[j];
    const float factor = numerics::fast_exp(maximum - best);
    total = fmaf(total, factor, sum);
    maximum = best + 0.0F;
    add_values(k + nope, job.stride(), keys, value, factor, s, room.o); // (3)
  });
  finish(job, row, room.o, maximum, total);
}

} // namespace

Carried allocate_carried(tensor::Arena &arena, const Index tokens, const Index heads,
                         const Index value) {
  return {arena.mat<float>(tokens, heads), arena.mat<float>(tokens, heads),
          arena.cube<float>(tokens, heads, value)};
}

template <class A>
void paged(Context &ctx, const PagedInputs<A> &in, const bool begins, const bool ends,
           const Carried &carried, const Cube<A> o_THV) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Index heads = in.q_THM.extent(1), dim = in.q_THM.extent(2), value = o_THV.extent(2);
  HADAL_CHECK(in.kv_SX.extent(1) == static_cast<std::size_t>(heads * (in.nope + value)) &&
                  in.key_PJR.extent(1) == static_cast<std::size_t>(kBlock),
              "keys and values of {} columns, pages of {}", in.kv_SX.extent(1),
              in.key_PJR.extent(1));
  const Vec<Tile> tiles = list_tiles(ctx, in.piece_I);
  const Mat<float> scratch = ctx.arena.mat<float>(tensor::host_threads(), Room::floats(dim, value));
  tensor::for_tasks(ctx, "layers::attention::paged", static_cast<Index>(tiles.extent(0)) * heads,
                    [=](const tensor::Row &, const Index task) {
                      const tensor::HostSlot slot;
                      const Tile tile = tiles(task / heads);
                      const Job<A> job{in, begins, ends, carried, o_THV, task % heads};
                      const Room room(&scratch(slot.index(), 0), dim, value);
                      if (in.piece_I(tile.piece).rows <= kNarrow)
                        attend_one(job, tile, room);
                      else
                        attend(job, tile, room);
                    });
}

std::size_t paged_bytes(const Index tokens, const Index head_dim, const Index value) {
  return tensor::Arena::padded(tokens * sizeof(Tile)) +
         tensor::Arena::padded(tensor::host_threads() * Room::floats(head_dim, value) *
                               sizeof(float));
}

template void paged(Context &, const PagedInputs<float> &, bool, bool, const Carried &,
                    Cube<float>);
template void paged(Context &, const PagedInputs<bf16> &, bool, bool, const Carried &, Cube<bf16>);

} // namespace layers::attention

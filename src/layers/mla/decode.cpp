// SPDX-License-Identifier: Apache-2.0
#include "layers/mla/decode.hpp"

#include <algorithm>

#include "layers/attention/absorbed.hpp"

namespace layers::mla {

namespace {

using attention::kKeyBlock;

template <class A> Mat<A> flat(const Cube<A> &x) {
  return Mat<A>(x.data(), x.extent(0), x.extent(1) * x.extent(2));
}
// Pages as rows.
template <class A> Mat<A> in_rows(const Cube<A> &x) {
  return Mat<A>(x.data(), x.extent(0) * x.extent(1), x.extent(2));
}
// Rows first .. first + count.
template <class A> Cube<A> part(const Cube<A> &x, const Index first, const Index count) {
  return Cube<A>(x.data() + first * x.extent(1) * x.extent(2), count, x.extent(1), x.extent(2));
}
template <class T> Vec<const T> part(const Vec<const T> &x, const Index first, const Index count) {
  return Vec<const T>(x.data() + first, count);
}

// (1) .. (6), (8)
template <class A>
void project(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
             const Vec<const std::int32_t> position_T, const Mat<const A> x_TD, const Saved<A> &s) {
  const float eps = static_cast<float>(dims.norm_eps);
  const Index C = dims.kv_rank, D = dims.model;
  if (dims.q_rank > 0) {
    numerics::linear<A, A>(ctx, "layers::mla::decode::q_down", x_TD, w.w_dq_QD, s.cq_TQ); // (1)
    rms_norm::forward<A>(ctx, s.cq_TQ, w.q_norm_Q, eps, s.cqn_TQ, s.q_norm);              // (2)
    numerics::linear<A, A>(ctx, "layers::mla::decode::q_up", s.cqn_TQ, w.w_uq_XQ,
                           flat(s.q_THM)); // (3)
  } else {
    numerics::linear<A, A>(ctx, "layers::mla::decode::q", x_TD, w.w_q_XD, flat(s.q_THM)); // (3)
  }
  const Mat<const A> w_latent_CD(w.w_dkv_YD.data(), C, D),
      w_key_RD(w.w_dkv_YD.data() + C * D, dims.rope, D);
  numerics::linear<A, A>(ctx, "layers::mla::decode::kv_down", x_TD, w_latent_CD, s.c_TC);  // (4)
  numerics::linear<A, A>(ctx, "layers::mla::decode::k_rope", x_TD, w_key_RD, s.k_rope_TR); // (5)
  rms_norm::forward<A>(ctx, s.c_TC, w.kv_norm_C, eps, s.cn_TC, s.kv_norm);                 // (6)
  rope::rotate<A>(ctx, "layers::mla::decode::rotate_q", table, position_T, s.q_THM, dims.nope,
                  1); // (8)
  const Cube<A> key_T1R(s.k_rope_TR.data(), s.k_rope_TR.extent(0), 1, dims.rope);
  rope::rotate<A>(ctx, "layers::mla::decode::rotate_k", table, position_T, key_T1R, 0, 1);
}

// New rows to their places in the pages.
template <class A>
void store(Context &ctx, const char *label, const Vec<const Index> slot_T, const Mat<const A> x_TC,
           const Cube<A> pages_PJC) {
  const Index width = x_TC.extent(1);
  const Mat<A> to_SC(pages_PJC.data(), pages_PJC.extent(0) * pages_PJC.extent(1), width);
  tensor::for_rows(
      ctx, label, x_TC.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *from = &x_TC(t, 0);
        A *to = &to_SC(slot_T(t), 0);
        tensor::row_for(row, width, [=](const Index c) { numerics::copy_element(from[c], to[c]); });
      });
}

// Latents of pages first .. first + count of the list, packed.
template <class A>
void gather(Context &ctx, const Vec<const Index> listed_U, const Index first,
            const Cube<const A> latent_PJC, const Mat<A> x_SC) {
  const Index width = x_SC.extent(1);
  tensor::for_rows(
      ctx, "layers::mla::decode::gather", x_SC.extent(0),
      KOKKOS_LAMBDA(const tensor::Row &row, const Index s) {
        const A *from = &latent_PJC(listed_U(first + s / kKeyBlock), s % kKeyBlock, 0);
        A *to = &x_SC(s, 0);
        tensor::row_for(row, width, [=](const Index c) { numerics::copy_element(from[c], to[c]); });
      });
}

// (9) as in training, of pages first .. first + count of a list.
template <class A>
attention::PagedInputs<A> inputs(const arch::Dims &dims, const NewRows &rows, const Pages<A> &cache,
                                 const Cube<const A> q_THM, const Vec<const Index> place_B,
                                 const Mat<const A> kv_SX, const Index first, const Index count) {
  return {q_THM, rows.piece_I, rows.page_B, place_B,   cache.key_PJR,
          kv_SX, first,        count,       dims.nope, static_cast<float>(dims.softmax_scale())};
}

// (7) of the new rows goes to the pages too.
template <class A>
void keep_kv(Context &ctx, const Weights<A> &w, const NewRows &rows, const Pages<A> &cache,
             const Mat<const A> cn_TC) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Mat<A> kv_TX = ctx.arena.mat<A>(cn_TC.extent(0), cache.kv_PJX.extent(2));
  numerics::linear<A, A>(ctx, "layers::mla::decode::kv_of_rows", cn_TC, w.w_ukv_ZC, kv_TX); // (7)
  store<A>(ctx, "layers::mla::decode::store_kv", rows.slot_T, kv_TX, cache.kv_PJX);
}

// (7), (9) as in training, some pages at a time.
template <class A>
void attend_exactly(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const NewRows &rows,
                    const Pages<A> &cache, const Cube<const A> q_THM, const Cube<A> o_THV) {
  const tensor::Arena::Scope scope(ctx.arena);
  const auto listed = static_cast<Index>(rows.listed_U.extent(0));
  attention::Carried carried;
  if (listed > kExpandedPages)
    carried = attention::allocate_carried(ctx.arena, rows.exact, dims.heads, dims.value);
  for (Index first = 0; first < listed; first += kExpandedPages) {
    const tensor::Arena::Scope round(ctx.arena);
    const Index count = std::min(kExpandedPages, listed - first), keys = count * kKeyBlock;
    const Mat<A> latent_SC = ctx.arena.mat<A>(keys, dims.kv_rank),
                 kv_SX = ctx.arena.mat<A>(keys, dims.heads * (dims.nope + dims.value));
    gather<A>(ctx, rows.listed_U, first, cache.latent_PJC, latent_SC);
    numerics::linear<A, A>(ctx, "layers::mla::decode::kv_up", latent_SC, w.w_ukv_ZC, kv_SX); // (7)
    const auto in = inputs<A>(dims, rows, cache, q_THM, rows.place_B, kv_SX, first, count);
    attention::paged(ctx, in, first == 0, first + count == listed, carried, o_THV); // (9)
  }
}

} // namespace

template <class A>
void decode(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
            const NewRows &rows, const Mat<const A> x_TD, const Pages<A> &cache,
            const Saved<A> &saved, const Mat<A> y_TD) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Index T = x_TD.extent(0), rest = T - rows.exact;
  Saved<A> s = saved;
  if (!s.q_THM.data()) s.q_THM = ctx.arena.cube<A>(T, dims.heads, dims.head_dim());
  project(ctx, dims, w, table, rows.position_T, x_TD, s);
  store<A>(ctx, "layers::mla::decode::store_latent", rows.slot_T, s.cn_TC, cache.latent_PJC);
  store<A>(ctx, "layers::mla::decode::store_key", rows.slot_T, s.k_rope_TR, cache.key_PJR);
  const bool kept = cache.kv_PJX.data() != nullptr;
  if (kept) keep_kv<A>(ctx, w, rows, cache, s.cn_TC);
  if (rows.exact > 0 && kept)
    attention::paged(ctx,
                     inputs<A>(dims, rows, cache, part(s.q_THM, 0, rows.exact), rows.page_B,
                               in_rows(cache.kv_PJX), 0, cache.kv_PJX.extent(0)),
                     true, true, {}, part(s.o_THV, 0, rows.exact)); // (9)
  else if (rows.exact > 0)
    attend_exactly<A>(ctx, dims, w, rows, cache, part(s.q_THM, 0, rows.exact),
                      part(s.o_THV, 0, rows.exact));
  if (rest > 0) {
    const attention::AbsorbedInputs<A> in{part(s.q_THM, rows.exact, rest),
                                          cache.latent_PJC,
                                          cache.key_PJR,
                                          w.w_ukv_ZC,
                                          rows.page_B,
                                          part(rows.table_T, rows.exact, rest),
                                          part(rows.position_T, rows.exact, rest),
                                          dims.nope,
                                          static_cast<float>(dims.softmax_scale())};
    attention::absorbed<A>(ctx, in, part(s.o_THV, rows.exact, rest));
  }
  numerics::linear<A, A>(ctx, "layers::mla::decode::out", flat(s.o_THV), w.w_o_DU, y_TD); // (10)
}

template <class A>
std::size_t decode_bytes(const arch::Dims &dims, const Index rows, const Index pages,
                         const bool keeps_kv) {
  tensor::Arena arena = tensor::Arena::counting("layers::mla::decode");
  arena.cube<A>(rows, dims.heads, dims.head_dim());
  const Index keys = keeps_kv ? rows : std::min(pages, kExpandedPages) * kKeyBlock;
  if (!keeps_kv) {
    attention::allocate_carried(arena, pages > kExpandedPages ? rows : 0, dims.heads, dims.value);
    arena.mat<A>(keys, dims.kv_rank);
  }
  arena.mat<A>(keys, dims.heads * (dims.nope + dims.value));
  return arena.used() + std::max(attention::paged_bytes(rows, dims.head_dim(), dims.value),
                                 attention::absorbed_bytes(rows, dims.heads, dims.kv_rank));
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void decode(Context &, const arch::Dims &, const Weights<A> &, const rope::Table &,     \
                       const NewRows &, Mat<const A>, const Pages<A> &, const Saved<A> &, Mat<A>); \
  template std::size_t decode_bytes<A>(const arch::Dims &, Index, Index, bool);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::mla

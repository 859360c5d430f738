// SPDX-License-Identifier: Apache-2.0
#include "layers/mla/mla.hpp"

namespace layers::mla {
namespace {

// Rows [first, first + count) of a packed matrix: packed again.
template <class T> Mat<T> rows(Mat<T> m, Index first, Index count) {
  const Index columns = static_cast<Index>(m.extent(1));
  return Mat<T>(m.data() + first * columns, count, columns);
}

// [T, heads x width] and [T, heads, width] are the same memory.
template <class T> Mat<T> folded(Cube<T> c) { return Mat<T>(c.data(), c.extent(0), c.extent(1) * c.extent(2)); }
template <class T> Mat<const T> read(Mat<T> m) { return m; }
template <class T> Cube<const T> read(Cube<T> c) { return c; }
template <class T> Cube<T> one_head(Mat<T> m) { return Cube<T>(m.data(), m.extent(0), 1, m.extent(1)); }

float eps(const arch::Dims &dims) { return static_cast<float>(dims.norm_eps); }

// (3), (7), (8) for q: from the normalised latents to rotated queries; kv without rotation.
template <class A>
void up_projections(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
                    const Segments &segments, Mat<const A> q_source, const Saved<A> &s) {
  if (dims.q_rank > 0)
    numerics::linear(ctx, "layers::mla::queries", q_source, w.w_uq_XQ, folded(s.q_THM)); // (3)
  numerics::linear(ctx, "layers::mla::keys_values", read(s.cn_TC), w.w_ukv_ZC, folded(s.kv_THX)); // (7)
  if (dims.q_rank > 0)
    rope::rotate(ctx, "layers::mla::rotate_queries", table, segments.position_T, s.q_THM, dims.nope, 1); // (8)
}

} // namespace

template <class A> Saved<A> allocate(tensor::Arena &arena, const arch::Dims &d, Index tokens, Keep keep) {
  Saved<A> s;
  // Without compression q comes straight from x, which is the caller's: it is always kept.
  if (d.q_rank > 0) {
    s.cq_TQ = arena.mat<A>(tokens, d.q_rank);
    if (keep.norms) s.cqn_TQ = arena.mat<A>(tokens, d.q_rank);
    s.q_norm = rms_norm::allocate(arena, tokens);
  }
  s.c_TC = arena.mat<A>(tokens, d.kv_rank);
  if (keep.norms) s.cn_TC = arena.mat<A>(tokens, d.kv_rank);
  s.kv_norm = rms_norm::allocate(arena, tokens);
  if (keep.up_projections || d.q_rank == 0) s.q_THM = arena.cube<A>(tokens, d.heads, d.head_dim());
  if (keep.up_projections) s.kv_THX = arena.cube<A>(tokens, d.heads, d.nope + d.value);
  s.k_rope_TR = arena.mat<A>(tokens, d.rope);
  s.o_THV = arena.cube<A>(tokens, d.heads, d.value);
  s.lse_TH = arena.mat<float>(tokens, d.heads);
  return s;
}

template <class A> Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &d, Index tokens) {
  Deltas<A> s;
  if (d.q_rank > 0) {
    s.dcq_TQ = arena.mat<A>(tokens, d.q_rank);
    s.dcqn_TQ = arena.mat<A>(tokens, d.q_rank);
  }
  s.dc_TC = arena.mat<A>(tokens, d.kv_rank);
  s.dcn_TC = arena.mat<A>(tokens, d.kv_rank);
  s.dk_rope_TR = arena.mat<A>(tokens, d.rope);
  s.dq_THM = arena.cube<A>(tokens, d.heads, d.head_dim());
  s.dkv_THX = arena.cube<A>(tokens, d.heads, d.nope + d.value);
  return s;
}

template <class A>
Saved<A> refill(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
                const Segments &segments, const Saved<A> &saved) {
  Saved<A> full = saved;
  const Index tokens = static_cast<Index>(saved.c_TC.extent(0));
  if (saved.cn_TC.size() == 0) {
    if (dims.q_rank > 0) {
      full.cqn_TQ = ctx.arena.template mat<A>(tokens, dims.q_rank);
      rms_norm::refill(ctx, read(saved.cq_TQ), w.q_norm_Q, saved.q_norm, full.cqn_TQ);
    }
    full.cn_TC = ctx.arena.template mat<A>(tokens, dims.kv_rank);
    rms_norm::refill(ctx, read(saved.c_TC), w.kv_norm_C, saved.kv_norm, full.cn_TC);
  }
  if (saved.kv_THX.size() == 0) {
    if (dims.q_rank > 0) full.q_THM = ctx.arena.template cube<A>(tokens, dims.heads, dims.head_dim());
    full.kv_THX = ctx.arena.template cube<A>(tokens, dims.heads, dims.nope + dims.value);
    up_projections(ctx, dims, w, table, segments, read(full.cqn_TQ), full);
  }
  return full;
}

template <class A>
void forward(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
             const Segments &segments, Mat<const A> x_TD, const Saved<A> &saved, Mat<A> y_TD) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index tokens = static_cast<Index>(x_TD.extent(0));
  Saved<A> s = saved; // with scratch in place of what is not kept
  if (s.cn_TC.size() == 0) {
    if (dims.q_rank > 0) s.cqn_TQ = ctx.arena.template mat<A>(tokens, dims.q_rank);
    s.cn_TC = ctx.arena.template mat<A>(tokens, dims.kv_rank);
  }
  if (s.q_THM.size() == 0) s.q_THM = ctx.arena.template cube<A>(tokens, dims.heads, dims.head_dim());
  if (s.kv_THX.size() == 0) s.kv_THX = ctx.arena.template cube<A>(tokens, dims.heads, dims.nope + dims.value);
  if (dims.q_rank > 0) {
    numerics::linear(ctx, "layers::mla::query_latent", x_TD, w.w_dq_QD, s.cq_TQ);                            // (1)
    rms_norm::forward(ctx, read(s.cq_TQ), w.q_norm_Q, eps(dims), s.cqn_TQ, s.q_norm);                        // (2)
  } else {
    numerics::linear(ctx, "layers::mla::queries", x_TD, w.w_q_XD, folded(s.q_THM));                          // (3)
    rope::rotate(ctx, "layers::mla::rotate_queries", table, segments.position_T, s.q_THM, dims.nope, 1);     // (8)
  }
  numerics::linear(ctx, "layers::mla::latent", x_TD, rows(w.w_dkv_YD, 0, dims.kv_rank), s.c_TC);             // (4)
  numerics::linear(ctx, "layers::mla::rope_key", x_TD, rows(w.w_dkv_YD, dims.kv_rank, dims.rope), s.k_rope_TR); // (5)
  rms_norm::forward(ctx, read(s.c_TC), w.kv_norm_C, eps(dims), s.cn_TC, s.kv_norm);                          // (6)
  up_projections(ctx, dims, w, table, segments, read(s.cqn_TQ), s);                                          // (3) (7) (8)
  rope::rotate(ctx, "layers::mla::rotate_key", table, segments.position_T, one_head(s.k_rope_TR), 0, 1);     // (8)
  attention::forward(ctx, read(s.q_THM), read(s.kv_THX), read(s.k_rope_TR), segments, dims.nope,
                     static_cast<float>(dims.softmax_scale()), s.o_THV, s.lse_TH);                           // (9)
  numerics::linear(ctx, "layers::mla::output", read(folded(s.o_THV)), w.w_o_DU, y_TD);                       // (10)
}

template <class A>
void backward_input(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
                    const Segments &segments, Mat<const A> dy_TD, const Saved<A> &s, const Deltas<A> &d, Mat<A> dx_TD) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index tokens = static_cast<Index>(dy_TD.extent(0));
  Cube<A> do_THV = ctx.arena.template cube<A>(tokens, dims.heads, dims.value);
  numerics::linear_backward_input(ctx, "layers::mla::output_B", dy_TD, w.w_o_DU, folded(do_THV));                // (10')
  attention::backward(ctx, read(do_THV), read(s.q_THM), read(s.kv_THX), read(s.k_rope_TR), read(s.o_THV),
                      Mat<const float>(s.lse_TH), segments, dims.nope, static_cast<float>(dims.softmax_scale()),
                      d.dq_THM, d.dkv_THX, d.dk_rope_TR);                                                        // (9')
  rope::rotate(ctx, "layers::mla::rotate_queries_B", table, segments.position_T, d.dq_THM, dims.nope, -1);       // (8')
  rope::rotate(ctx, "layers::mla::rotate_key_B", table, segments.position_T, one_head(d.dk_rope_TR), 0, -1);     // (8')
  numerics::linear_backward_input(ctx, "layers::mla::keys_values_B", read(folded(d.dkv_THX)), w.w_ukv_ZC, d.dcn_TC); // (7')
  rms_norm::backward_input(ctx, read(d.dcn_TC), read(s.c_TC), w.kv_norm_C, s.kv_norm, d.dc_TC);                  // (6')
  if (dims.q_rank > 0) {
    numerics::linear_backward_input(ctx, "layers::mla::queries_B", read(folded(d.dq_THM)), w.w_uq_XQ, d.dcqn_TQ); // (3')
    rms_norm::backward_input(ctx, read(d.dcqn_TQ), read(s.cq_TQ), w.q_norm_Q, s.q_norm, d.dcq_TQ);               // (2')
    numerics::linear_backward_input(ctx, "layers::mla::query_latent_B", read(d.dcq_TQ), w.w_dq_QD, dx_TD);       // (1')
  } else {
    numerics::linear_backward_input(ctx, "layers::mla::queries_B", read(folded(d.dq_THM)), w.w_q_XD, dx_TD);     // (3')
  }
  numerics::linear_backward_input(ctx, "layers::mla::latent_B", read(d.dc_TC), rows(w.w_dkv_YD, 0, dims.kv_rank), dx_TD, true); // (4')
  numerics::linear_backward_input(ctx, "layers::mla::rope_key_B", read(d.dk_rope_TR), rows(w.w_dkv_YD, dims.kv_rank, dims.rope), dx_TD, true); // (5')
}

template <class A>
void backward_weight(Context &ctx, const arch::Dims &dims, Mat<const A> dy_TD, Mat<const A> x_TD, const Saved<A> &s,
                     const Deltas<A> &d, const Grads &acc) {
  numerics::linear_backward_weight(ctx, "layers::mla::output_W", dy_TD, read(folded(s.o_THV)), acc.w_o_DU);       // (10')
  numerics::linear_backward_weight(ctx, "layers::mla::keys_values_W", read(folded(d.dkv_THX)), read(s.cn_TC), acc.w_ukv_ZC); // (7')
  rms_norm::backward_weight(ctx, read(d.dcn_TC), read(s.c_TC), s.kv_norm, acc.kv_norm_C);                         // (6')
  if (dims.q_rank > 0) {
    numerics::linear_backward_weight(ctx, "layers::mla::queries_W", read(folded(d.dq_THM)), read(s.cqn_TQ), acc.w_uq_XQ); // (3')
    rms_norm::backward_weight(ctx, read(d.dcqn_TQ), read(s.cq_TQ), s.q_norm, acc.q_norm_Q);                       // (2')
    numerics::linear_backward_weight(ctx, "layers::mla::query_latent_W", read(d.dcq_TQ), x_TD, acc.w_dq_QD);      // (1')
  } else {
    numerics::linear_backward_weight(ctx, "layers::mla::queries_W", read(folded(d.dq_THM)), x_TD, acc.w_q_XD);    // (3')
  }
  numerics::linear_backward_weight(ctx, "layers::mla::latent_W", read(d.dc_TC), x_TD, rows(acc.w_dkv_YD, 0, dims.kv_rank)); // (4')
  numerics::linear_backward_weight(ctx, "layers::mla::rope_key_W", read(d.dk_rope_TR), x_TD, rows(acc.w_dkv_YD, dims.kv_rank, dims.rope)); // (5')
}

#define HADAL_INSTANTIATE(A)                                                                                              \
  template Saved<A> allocate<A>(tensor::Arena &, const arch::Dims &, Index, Keep);                                        \
  template Deltas<A> allocate_deltas<A>(tensor::Arena &, const arch::Dims &, Index);                                      \
  template Saved<A> refill(Context &, const arch::Dims &, const Weights<A> &, const rope::Table &, const Segments &,      \
                           const Saved<A> &);                                                                             \
  template void forward(Context &, const arch::Dims &, const Weights<A> &, const rope::Table &, const Segments &,         \
                        Mat<const A>, const Saved<A> &, Mat<A>);                                                          \
  template void backward_input(Context &, const arch::Dims &, const Weights<A> &, const rope::Table &, const Segments &,  \
                               Mat<const A>, const Saved<A> &, const Deltas<A> &, Mat<A>);                                \
  template void backward_weight(Context &, const arch::Dims &, Mat<const A>, Mat<const A>, const Saved<A> &,              \
                                const Deltas<A> &, const Grads &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::mla

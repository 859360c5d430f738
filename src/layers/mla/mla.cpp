// SPDX-License-Identifier: Apache-2.0
#include "layers/mla/mla.hpp"

namespace layers::mla {

namespace {

// [T, H, X] as [T, H X], and [T, R] as [T, 1, R].
template <class A> Mat<A> flat(const Cube<A> &x) {
  return Mat<A>(x.data(), x.extent(0), x.extent(1) * x.extent(2));
}
template <class A> Cube<A> one_head(const Mat<A> &x) {
  return Cube<A>(x.data(), x.extent(0), 1, x.extent(1));
}

// Rows of w_dkv (or of its gradient) that make the latent, and those that make the rope key.
template <class W> W latent_rows(const W &w_YD, const Index latent) {
  return W(w_YD.data(), latent, w_YD.extent(1));
}
template <class W> W rope_rows(const W &w_YD, const Index latent) {
  const Index width = w_YD.extent(1);
  return W(w_YD.data() + latent * width, w_YD.extent(0) - latent, width);
}

bool compressed(const arch::Dims &dims) { return dims.q_rank > 0; }

// Fields that may be left out are taken from the arena where they are empty.
template <class A>
Saved<A> complete(tensor::Arena &arena, const arch::Dims &dims, const Saved<A> &saved) {
  Saved<A> full = saved;
  const Index T = saved.c_TC.extent(0), C = dims.kv_rank, H = dims.heads;
  if (compressed(dims) && !full.cqn_TQ.data()) full.cqn_TQ = arena.mat<A>(T, dims.q_rank);
  if (!full.cn_TC.data()) full.cn_TC = arena.mat<A>(T, C);
  if (!full.q_THM.data()) full.q_THM = arena.cube<A>(T, H, dims.head_dim());
  if (!full.kv_THX.data()) full.kv_THX = arena.cube<A>(T, H, dims.nope + dims.value);
  return full;
}

} // namespace

template <class A>
Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, const Index tokens,
                  const Keep keep) {
  const Index H = dims.heads;
  Saved<A> s;
  if (compressed(dims)) {
    s.cq_TQ = arena.mat<A>(tokens, dims.q_rank);
    if (keep.norms) s.cqn_TQ = arena.mat<A>(tokens, dims.q_rank);
    s.q_norm = rms_norm::allocate(arena, tokens);
  }
  s.c_TC = arena.mat<A>(tokens, dims.kv_rank);
  if (keep.norms) s.cn_TC = arena.mat<A>(tokens, dims.kv_rank);
  s.kv_norm = rms_norm::allocate(arena, tokens);
  s.k_rope_TR = arena.mat<A>(tokens, dims.rope);
  if (keep.up_projections || !compressed(dims)) s.q_THM = arena.cube<A>(tokens, H, dims.head_dim());
  if (keep.up_projections) s.kv_THX = arena.cube<A>(tokens, H, dims.nope + dims.value);
  s.o_THV = arena.cube<A>(tokens, H, dims.value);
  s.lse_TH = arena.mat<float>(tokens, H);
  return s;
}

template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, const Index tokens) {
  Deltas<A> d;
  if (compressed(dims)) {
    d.dcq_TQ = arena.mat<A>(tokens, dims.q_rank);
    d.dcqn_TQ = arena.mat<A>(tokens, dims.q_rank);
  }
  d.dc_TC = arena.mat<A>(tokens, dims.kv_rank);
  d.dcn_TC = arena.mat<A>(tokens, dims.kv_rank);
  d.dk_rope_TR = arena.mat<A>(tokens, dims.rope);
  d.dq_THM = arena.cube<A>(tokens, dims.heads, dims.head_dim());
  d.dkv_THX = arena.cube<A>(tokens, dims.heads, dims.nope + dims.value);
  return d;
}

template <class A>
Saved<A> refill(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
                const Segments &segments, const Saved<A> &saved) {
  const Saved<A> full = complete(ctx.arena, dims, saved);
  if (compressed(dims)) {
    if (!saved.cqn_TQ.data())
      rms_norm::refill<A>(ctx, saved.cq_TQ, w.q_norm_Q, saved.q_norm, full.cqn_TQ); // (2)
    if (!saved.q_THM.data()) {
      numerics::linear<A, A>(ctx, "layers::mla::refill::q", full.cqn_TQ, w.w_uq_XQ,
                             flat(full.q_THM)); // (3)
      rope::rotate<A>(ctx, "layers::mla::refill::rotate_q", table, segments.position_T, full.q_THM,
                      dims.nope, 1); // (8)
    }
  }
  if (!saved.cn_TC.data())
    rms_norm::refill<A>(ctx, saved.c_TC, w.kv_norm_C, saved.kv_norm, full.cn_TC); // (6)
  if (!saved.kv_THX.data())
    numerics::linear<A, A>(ctx, "layers::mla::refill::kv", full.cn_TC, w.w_ukv_ZC,
                           flat(full.kv_THX)); // (7)
  return full;
}

template <class A>
void forward(Context &ctx, const arch::Dims &dims, const Weights<A> &w, const rope::Table &table,
             const Segments &segments, const Mat<const A> x_TD, const Saved<A> &saved,
             const Mat<A> y_TD) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Saved<A> s = complete(ctx.arena, dims, saved);
  const float eps = static_cast<float>(dims.norm_eps);
  if (compressed(dims)) {
    numerics::linear<A, A>(ctx, "layers::mla::forward::q_down", x_TD, w.w_dq_QD, s.cq_TQ); // (1)
    rms_norm::forward<A>(ctx, s.cq_TQ, w.q_norm_Q, eps, s.cqn_TQ, s.q_norm);               // (2)
    numerics::linear<A, A>(ctx, "layers::mla::forward::q_up", s.cqn_TQ, w.w_uq_XQ,
                           flat(s.q_THM)); // (3)
  } else {
    numerics::linear<A, A>(ctx, "layers::mla::forward::q", x_TD, w.w_q_XD, flat(s.q_THM)); // (3)
  }
  numerics::linear<A, A>(ctx, "layers::mla::forward::kv_down", x_TD,
                         latent_rows(w.w_dkv_YD, dims.kv_rank), s.c_TC); // (4)
  numerics::linear<A, A>(ctx, "layers::mla::forward::k_rope", x_TD,
                         rope_rows(w.w_dkv_YD, dims.kv_rank), s.k_rope_TR); // (5)
  rms_norm::forward<A>(ctx, s.c_TC, w.kv_norm_C, eps, s.cn_TC, s.kv_norm);  // (6)
  numerics::linear<A, A>(ctx, "layers::mla::forward::kv_up", s.cn_TC, w.w_ukv_ZC,
                         flat(s.kv_THX)); // (7)
  rope::rotate<A>(ctx, "layers::mla::forward::rotate_q", table, segments.position_T, s.q_THM,
                  dims.nope, 1); // (8)
  rope::rotate<A>(ctx, "layers::mla::forward::rotate_k", table, segments.position_T,
                  one_head(s.k_rope_TR), 0, 1);
  attention::forward<A>(ctx, s.q_THM, s.kv_THX, s.k_rope_TR, segments, dims.nope,
                        static_cast<float>(dims.softmax_scale()), s.o_THV, s.lse_TH);      // (9)
  numerics::linear<A, A>(ctx, "layers::mla::forward::out", flat(s.o_THV), w.w_o_DU, y_TD); // (10)
}

template <class A>
void backward_input(Context &ctx, const arch::Dims &dims, const Weights<A> &w,
                    const rope::Table &table, const Segments &segments, const Mat<const A> dy_TD,
                    const Saved<A> &s, const Deltas<A> &d, const Mat<A> dx_TD) {
  HADAL_CHECK(s.q_THM.data() && s.kv_THX.data() && s.cn_TC.data(),
              "saved of {} tokens was not refilled", s.c_TC.extent(0));
  const Index C = dims.kv_rank;
  {
    const tensor::Arena::Scope scope(ctx.arena);
    const Cube<A> do_THV =
        ctx.arena.cube<A>(s.o_THV.extent(0), s.o_THV.extent(1), s.o_THV.extent(2));
    numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::out", dy_TD, w.w_o_DU,
                                       flat(do_THV)); // (10')
    attention::backward<A>(ctx, do_THV, s.q_THM, s.kv_THX, s.k_rope_TR, s.o_THV, s.lse_TH, segments,
                           dims.nope, static_cast<float>(dims.softmax_scale()), d.dq_THM, d.dkv_THX,
                           d.dk_rope_TR); // (9')
  }
  rope::rotate<A>(ctx, "layers::mla::backward_input::rotate_q", table, segments.position_T,
                  d.dq_THM, dims.nope, -1); // (8')
  rope::rotate<A>(ctx, "layers::mla::backward_input::rotate_k", table, segments.position_T,
                  one_head(d.dk_rope_TR), 0, -1);
  numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::kv_up", flat(d.dkv_THX),
                                     w.w_ukv_ZC, d.dcn_TC);                            // (7')
  rms_norm::backward_input<A>(ctx, d.dcn_TC, s.c_TC, w.kv_norm_C, s.kv_norm, d.dc_TC); // (6')
  if (compressed(dims)) {
    numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::q_up", flat(d.dq_THM),
                                       w.w_uq_XQ, d.dcqn_TQ);                             // (3')
    rms_norm::backward_input<A>(ctx, d.dcqn_TQ, s.cq_TQ, w.q_norm_Q, s.q_norm, d.dcq_TQ); // (2')
    numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::q_down", d.dcq_TQ,
                                       w.w_dq_QD, dx_TD); // (1')
  } else {
    numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::q", flat(d.dq_THM),
                                       w.w_q_XD, dx_TD); // (3')
  }
  numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::kv_down", d.dc_TC,
                                     latent_rows(w.w_dkv_YD, C), dx_TD, true); // (4')
  numerics::linear_backward_input<A>(ctx, "layers::mla::backward_input::k_rope", d.dk_rope_TR,
                                     rope_rows(w.w_dkv_YD, C), dx_TD, true); // (5')
}

template <class A>
void backward_weight(Context &ctx, const arch::Dims &dims, const Mat<const A> dy_TD,
                     const Mat<const A> x_TD, const Saved<A> &s, const Deltas<A> &d,
                     const Grads &acc) {
  numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::out", dy_TD,
                                      flat(s.o_THV), acc.w_o_DU); // (10')
  numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::kv_up", flat(d.dkv_THX),
                                      s.cn_TC, acc.w_ukv_ZC);                    // (7')
  rms_norm::backward_weight<A>(ctx, d.dcn_TC, s.c_TC, s.kv_norm, acc.kv_norm_C); // (6')
  numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::k_rope", d.dk_rope_TR,
                                      x_TD, rope_rows(acc.w_dkv_YD, dims.kv_rank)); // (5')
  numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::kv_down", d.dc_TC, x_TD,
                                      latent_rows(acc.w_dkv_YD, dims.kv_rank)); // (4')
  if (compressed(dims)) {
    numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::q_up", flat(d.dq_THM),
                                        s.cqn_TQ, acc.w_uq_XQ);                    // (3')
    rms_norm::backward_weight<A>(ctx, d.dcqn_TQ, s.cq_TQ, s.q_norm, acc.q_norm_Q); // (2')
    numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::q_down", d.dcq_TQ, x_TD,
                                        acc.w_dq_QD); // (1')
  } else {
    numerics::linear_backward_weight<A>(ctx, "layers::mla::backward_weight::q", flat(d.dq_THM),
                                        x_TD, acc.w_q_XD); // (3')
  }
}

template Saved<float> allocate(tensor::Arena &, const arch::Dims &, Index, Keep);
template Saved<bf16> allocate(tensor::Arena &, const arch::Dims &, Index, Keep);
template Deltas<float> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template Deltas<bf16> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template Saved<float> refill(Context &, const arch::Dims &, const Weights<float> &,
                             const rope::Table &, const Segments &, const Saved<float> &);
template Saved<bf16> refill(Context &, const arch::Dims &, const Weights<bf16> &,
                            const rope::Table &, const Segments &, const Saved<bf16> &);
template void forward(Context &, const arch::Dims &, const Weights<float> &, const rope::Table &,
                      const Segments &, Mat<const float>, const Saved<float> &, Mat<float>);
template void forward(Context &, const arch::Dims &, const Weights<bf16> &, const rope::Table &,
                      const Segments &, Mat<const bf16>, const Saved<bf16> &, Mat<bf16>);
template void backward_input(Context &, const arch::Dims &, const Weights<float> &,
                             const rope::Table &, const Segments &, Mat<const float>,
                             const Saved<float> &, const Deltas<float> &, Mat<float>);
template void backward_input(Context &, const arch::Dims &, const Weights<bf16> &,
                             const rope::Table &, const Segments &, Mat<const bf16>,
                             const Saved<bf16> &, const Deltas<bf16> &, Mat<bf16>);
template void backward_weight(Context &, const arch::Dims &, Mat<const float>, Mat<const float>,
                              const Saved<float> &, const Deltas<float> &, const Grads &);
template void backward_weight(Context &, const arch::Dims &, Mat<const bf16>, Mat<const bf16>,
                              const Saved<bf16> &, const Deltas<bf16> &, const Grads &);

} // namespace layers::mla

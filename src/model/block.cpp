// SPDX-License-Identifier: Apache-2.0
#include "model/block.hpp"

#include "model/block_backward.hpp"
#include "model/block_forward.hpp"

namespace model::block {

using tensor::Arena;

template <class A> BlockSaved<A> allocate(Arena &arena, const BlockEnv &env, const Stream &stream) {
  using namespace layers;
  const auto &dims = env.dims;
  const auto &again = env.recompute;
  const Index T = stream.samples * stream.rows;
  BlockSaved<A> s;
  s.dense = dims.is_dense(env.layer);
  s.norm1 = rms_norm::allocate(arena, T);
  s.norm2 = rms_norm::allocate(arena, T);
  s.r_TD = arena.template mat<A>(T, dims.model);
  if (!again.norms) {
    s.h1_TD = arena.template mat<A>(T, dims.model);
    s.h2_TD = arena.template mat<A>(T, dims.model);
  }
  s.mla = mla::allocate<A>(arena, dims, T, mla::Keep{!again.norms, !again.up_projections});
  if (s.dense) {
    s.ffn = ffn::allocate<A>(arena, T, dims.dense_hidden, !again.swiglu);
  } else {
    s.router = router::allocate(arena, dims, T, stream.samples);
    s.plan = dispatch::allocate(arena, dims, T, env.group.formats);
    if (env.group.ep)
      s.visitors = std::make_shared<Visitors<A>>(Visitors<A>{&arena, {}, {}});
    else
      s.experts =
          experts::allocate<A>(arena, dims, T, experts::Keep{!again.arrivals, !again.swiglu});
    if (dims.shared > 0)
      s.shared = ffn::allocate<A>(arena, T, dims.shared * dims.expert_hidden, !again.swiglu);
  }
  return s;
}

template <class A>
BlockDeltas<A> allocate_deltas(Arena &arena, const BlockEnv &env, const Stream &stream) {
  using namespace layers;
  const auto &dims = env.dims;
  const Index T = stream.samples * stream.rows;
  BlockDeltas<A> d;
  d.dh1_TD = arena.template mat<A>(T, dims.model);
  d.dr_TD = arena.template mat<A>(T, dims.model);
  d.dh2_TD = arena.template mat<A>(T, dims.model);
  d.mla = mla::allocate_deltas<A>(arena, dims, T);
  if (dims.is_dense(env.layer)) {
    d.ffn = ffn::allocate_deltas<A>(arena, T, dims.dense_hidden);
  } else {
    if (env.group.ep)
      d.visitors = std::make_shared<VisitorDeltas<A>>(VisitorDeltas<A>{&arena, {}, {}, {}});
    else
      d.experts = experts::allocate_deltas<A>(arena, dims, T);
    if (dims.shared > 0)
      d.shared = ffn::allocate_deltas<A>(arena, T, dims.shared * dims.expert_hidden);
    d.dl_TE = arena.mat<float>(T, dims.experts);
  }
  return d;
}

template <class A>
BlockSaved<A> refill(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                     const Stream &stream, Mat<const A> x_TD, const BlockSaved<A> &saved) {
  using namespace layers;
  BlockSaved<A> full = saved;
  if (env.recompute.norms) {
    full.h1_TD = ctx.arena.template mat<A>(x_TD.extent(0), x_TD.extent(1));
    full.h2_TD = ctx.arena.template mat<A>(x_TD.extent(0), x_TD.extent(1));
    rms_norm::refill(ctx, x_TD, w.attention_norm_D, saved.norm1, full.h1_TD);
    rms_norm::refill(ctx, Mat<const A>(saved.r_TD), w.ffn_norm_D, saved.norm2, full.h2_TD);
  }
  full.mla = mla::refill(ctx, env.dims, w.mla, env.rope, stream.segments, saved.mla);
  if (saved.dense) {
    full.ffn = ffn::refill(ctx, saved.ffn);
  } else {
    if (!env.group.ep) // the visitors' are made again with their gradients
      full.experts = experts::refill(ctx, saved.plan, Mat<const float>(saved.router.weight_TK),
                                     Mat<const A>(full.h2_TD), saved.experts);
    if (env.dims.shared > 0) full.shared = ffn::refill(ctx, saved.shared);
  }
  return full;
}

template <class A>
void forward(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, const Stream &stream,
             Mat<const A> x_TD, const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD) {
  Arena::Scope scope(ctx.arena);
  Forward<A> f{env, w, stream, x_TD, balance, saved, y_TD, {}, {}, {}};
  attention(ctx, f);
  mlp(ctx, f);
  close(ctx, f);
}

template <class A>
void after_attention(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                     const Stream &stream, Mat<const A> x_TD, Mat<const A> a_TD,
                     const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD) {
  Arena::Scope scope(ctx.arena);
  Forward<A> f{env, w, stream, x_TD, balance, saved, y_TD, {}, {}, {}};
  after_attention(ctx, f, a_TD);
  mlp(ctx, f);
  close(ctx, f);
}

template <class A>
void backward_input(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                    const Stream &stream, Mat<const A> dy_TD, Mat<const A> x_TD,
                    const Balance &balance, const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                    Mat<A> dx_TD) {
  Arena::Scope scope(ctx.arena);
  Backward<A> b{env, w, stream, dy_TD, x_TD, balance, full, deltas, dx_TD, {}, {}, {}};
  open(ctx, b);
  mlp(ctx, b);
  attention(ctx, b);
}

template <class A>
void backward_weight(Context &ctx, const BlockEnv &env, Mat<const A> dy_TD, Mat<const A> x_TD,
                     const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                     const BlockGrads &acc) {
  mlp_weight(ctx, env, dy_TD, full, deltas, acc);
  attention_weight(ctx, env, x_TD, full, deltas, acc);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template BlockSaved<A> allocate<A>(Arena &, const BlockEnv &, const Stream &);                   \
  template BlockDeltas<A> allocate_deltas<A>(Arena &, const BlockEnv &, const Stream &);           \
  template BlockSaved<A> refill(Context &, const BlockEnv &, const BlockWeights<A> &,              \
                                const Stream &, Mat<const A>, const BlockSaved<A> &);              \
  template void forward(Context &, const BlockEnv &, const BlockWeights<A> &, const Stream &,      \
                        Mat<const A>, const Balance &, const BlockSaved<A> &, Mat<A>);             \
  template void after_attention(Context &, const BlockEnv &, const BlockWeights<A> &,              \
                                const Stream &, Mat<const A>, Mat<const A>, const Balance &,       \
                                const BlockSaved<A> &, Mat<A>);                                    \
  template void backward_input(Context &, const BlockEnv &, const BlockWeights<A> &,               \
                               const Stream &, Mat<const A>, Mat<const A>, const Balance &,        \
                               const BlockSaved<A> &, const BlockDeltas<A> &, Mat<A>);             \
  template void backward_weight(Context &, const BlockEnv &, Mat<const A>, Mat<const A>,           \
                                const BlockSaved<A> &, const BlockDeltas<A> &,                     \
                                const BlockGrads &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model::block

// SPDX-License-Identifier: Apache-2.0
#include "model/block.hpp"

#include "numerics/elementwise.hpp"

namespace model::block {
namespace {

using numerics::flat;
using tensor::Arena;

float eps(const BlockEnv &env) { return static_cast<float>(env.dims.norm_eps); }

// y = a + b in FP32, rounded once.
template <class A>
void sum(Context &ctx, const char *label, Vec<const A> a, Vec<const A> b, Vec<A> y) {
  const Index n = static_cast<Index>(y.extent(0));
  ctx.count(label, 0, 3.0 * sizeof(A) * static_cast<double>(n));
  tensor::for_each(
      ctx, label, n, KOKKOS_LAMBDA(const Index i) {
        y(i) = A(static_cast<float>(a(i)) + static_cast<float>(b(i)));
      });
}

template <class A> Vec<const A> read(Mat<const A> m) { return flat(m); }
template <class A> Vec<const A> read(Mat<A> m) { return Vec<const A>(m.data(), m.size()); }

// The routed experts of this rank on everybody's arrivals: y_AD holds the results of mine.
template <class A>
void visit(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, Mat<const A> h2_TD,
           const BlockSaved<A> &saved, Mat<A> y_AD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  auto &v = *saved.visitors;
  const Index D = env.dims.model;
  v.exchange = dispatch::meet(ctx, *env.ep, *v.keep, env.dims, saved.plan,
                              Mat<const float>(saved.router.weight_TK));
  v.x_BD = v.keep->template mat<A>(v.exchange.rows(), D);
  dispatch::gather(ctx, "model::block::visit::gather", saved.plan, h2_TD,
                   y_AD); // sent, then overwritten
  dispatch::to_experts(ctx, *env.ep, v.exchange, Mat<const A>(y_AD), v.x_BD, "dispatch");
  const Mat<A> y_BD = ctx.arena.template mat<A>(v.exchange.rows(), D);
  v.experts.clear();
  for (const auto &source : v.exchange.sources) {
    auto of_source = experts::allocate_rows<A>(*v.keep, env.dims, source.rows,
                                               experts::Keep{false, !env.recompute.swiglu});
    of_source.x_AD = Mat<A>(v.x_BD.data() + source.first * D, source.rows, D);
    experts::forward(ctx, source.plan, Mat<const float>(source.weight_B1), w.experts,
                     Mat<const A>(of_source.x_AD), of_source,
                     Mat<A>(y_BD.data() + source.first * D, source.rows, D));
    v.experts.push_back(of_source);
  }
  dispatch::from_experts(ctx, *env.ep, v.exchange, Mat<const A>(y_BD), y_AD, "combine");
}

// Its reverse: dy_AD of mine goes out, dx_AD and dweight_TK of mine come back.
template <class A>
void visit_backward(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, Mat<const A> dm_TD,
                    const BlockSaved<A> &full, const BlockDeltas<A> &deltas, Mat<A> dx_AD,
                    Mat<float> dweight_TK) {
  using namespace layers;
  const auto &v = *full.visitors;
  auto &d = *deltas.visitors;
  const Index D = env.dims.model, B = v.exchange.rows();
  d.dy_BD = d.keep->template mat<A>(B, D);
  d.experts.clear(), d.full.clear();
  for (const auto &source : v.exchange.sources) {
    auto of_source = experts::allocate_delta_rows<A>(*d.keep, env.dims, source.rows);
    of_source.dy_AD = Mat<A>(d.dy_BD.data() + source.first * D, source.rows, D);
    d.experts.push_back(of_source);
    const auto &saved = v.experts[d.full.size()];
    Context kept{ctx.exec, *d.keep, ctx.mesh, ctx.counter};
    d.full.push_back(experts::refill(kept, source.plan, Mat<const float>(source.weight_B1),
                                     Mat<const A>(saved.x_AD), saved));
  }
  Arena::Scope scope(ctx.arena);
  dispatch::gather(ctx, "model::block::visit_backward::gather", full.plan, dm_TD, dx_AD);
  dispatch::to_experts(ctx, *env.ep, v.exchange, Mat<const A>(dx_AD), d.dy_BD, "combine gradient");
  const Mat<A> dx_BD = ctx.arena.template mat<A>(B, D);
  const Mat<float> dweight_B1 = ctx.arena.template mat<float>(B, 1),
                   dweight_A1 = ctx.arena.template mat<float>(dx_AD.extent(0), 1);
  for (std::size_t s = 0; s < d.experts.size(); ++s) {
    const auto &source = v.exchange.sources[s];
    experts::backward_input(ctx, source.plan, Mat<const float>(source.weight_B1), w.experts,
                            d.full[s], d.experts[s],
                            Mat<A>(dx_BD.data() + source.first * D, source.rows, D),
                            Mat<float>(dweight_B1.data() + source.first, source.rows, 1));
  }
  dispatch::from_experts(ctx, *env.ep, v.exchange, Mat<const A>(dx_BD), dx_AD, "dispatch gradient");
  dispatch::from_experts(ctx, *env.ep, v.exchange, Mat<const float>(dweight_B1), dweight_A1,
                         "dispatch weight gradient");
  dispatch::from_arrivals(ctx, full.plan, Mat<const float>(dweight_A1), dweight_TK);
}

template <class A>
void moe_forward(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, const Stream &stream,
                 Mat<const A> h2_TD, const Balance &balance, const BlockSaved<A> &saved,
                 Mat<A> m_TD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const auto &dims = env.dims;
  const Index T = static_cast<Index>(h2_TD.extent(0));
  router::forward(ctx, dims, w.w_router_ED, w.bias_E, h2_TD, stream.samples, balance.alpha,
                  saved.router, balance.load_E, balance.balance_S);
  dispatch::plan(ctx, dims, saved.router.expert_TK, saved.plan);
  Mat<A> y_AD = ctx.arena.template mat<A>(T * dims.chosen, dims.model);
  if (env.ep)
    visit(ctx, env, w, h2_TD, saved, y_AD);
  else
    experts::forward(ctx, saved.plan, Mat<const float>(saved.router.weight_TK), w.experts, h2_TD,
                     saved.experts, y_AD);
  Mat<A> s_TD;
  if (dims.shared > 0) {
    s_TD = ctx.arena.template mat<A>(T, dims.model);
    ffn::forward(ctx, w.shared, h2_TD, saved.shared, s_TD);
  }
  dispatch::combine(ctx, "layers::dispatch::combine", dims, saved.plan,
                    Mat<const std::int32_t>(saved.router.expert_TK), Mat<const A>(y_AD),
                    Mat<const A>(s_TD), m_TD);
}

template <class A>
void moe_backward_input(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                        const Stream &stream, Mat<const A> dm_TD, const Balance &balance,
                        const BlockSaved<A> &full, const BlockDeltas<A> &deltas, Mat<A> dh2_TD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const auto &dims = env.dims;
  const Index T = static_cast<Index>(dm_TD.extent(0));
  Mat<A> dx_AD = ctx.arena.template mat<A>(T * dims.chosen, dims.model);
  Mat<float> dweight_TK = ctx.arena.template mat<float>(T, dims.chosen);
  if (env.ep) {
    visit_backward(ctx, env, w, dm_TD, full, deltas, dx_AD, dweight_TK);
  } else {
    dispatch::gather(ctx, "layers::dispatch::gather_gradient", full.plan, dm_TD,
                     deltas.experts.dy_AD);
    experts::backward_input(ctx, full.plan, Mat<const float>(full.router.weight_TK), w.experts,
                            full.experts, deltas.experts, dx_AD, dweight_TK);
  }
  Mat<A> ds_TD;
  if (dims.shared > 0) {
    ds_TD = ctx.arena.template mat<A>(T, dims.model);
    ffn::backward_input(ctx, w.shared, dm_TD, full.shared, deltas.shared, ds_TD);
  }
  dispatch::combine(ctx, "layers::dispatch::combine_gradient", dims, full.plan,
                    Mat<const std::int32_t>(full.router.expert_TK), Mat<const A>(dx_AD),
                    Mat<const A>(ds_TD), dh2_TD);
  router::backward_input(ctx, dims, w.w_router_ED, Mat<const float>(dweight_TK), stream.samples,
                         balance.alpha, balance.scale, full.router, deltas.dl_TE, dh2_TD);
}

} // namespace

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
    s.plan = dispatch::allocate(arena, dims, T);
    if (env.ep)
      s.visitors = std::make_shared<Visitors<A>>(Visitors<A>{&arena, {}, {}, {}});
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
    if (env.ep)
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
    if (!env.ep) // the visitors' are made again when the exchange is there
      full.experts = experts::refill(ctx, saved.plan, Mat<const float>(saved.router.weight_TK),
                                     Mat<const A>(full.h2_TD), saved.experts);
    if (env.dims.shared > 0) full.shared = ffn::refill(ctx, saved.shared);
  }
  return full;
}

template <class A>
void after_attention(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                     const Stream &stream, Mat<const A> x_TD, Mat<const A> a_TD,
                     const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const Index T = static_cast<Index>(x_TD.extent(0)), D = static_cast<Index>(x_TD.extent(1));
  Mat<A> h2 = env.recompute.norms ? ctx.arena.template mat<A>(T, D) : saved.h2_TD;
  Mat<A> m = ctx.arena.template mat<A>(T, D);
  sum(ctx, "model::block::add_attention", read(x_TD), read(a_TD), flat(saved.r_TD));         // (3)
  rms_norm::forward(ctx, Mat<const A>(saved.r_TD), w.ffn_norm_D, eps(env), h2, saved.norm2); // (4)
  if (saved.dense)
    ffn::forward(ctx, w.ffn, Mat<const A>(h2), saved.ffn, m); // (5)
  else
    moe_forward(ctx, env, w, stream, Mat<const A>(h2), balance, saved, m);  // (5)
  sum(ctx, "model::block::add_ffn", read(saved.r_TD), read(m), flat(y_TD)); // (6)
}

template <class A>
void forward(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, const Stream &stream,
             Mat<const A> x_TD, const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const Index T = static_cast<Index>(x_TD.extent(0)), D = static_cast<Index>(x_TD.extent(1));
  Mat<A> h1 = env.recompute.norms ? ctx.arena.template mat<A>(T, D) : saved.h1_TD;
  Mat<A> a = ctx.arena.template mat<A>(T, D);
  rms_norm::forward(ctx, x_TD, w.attention_norm_D, eps(env), h1, saved.norm1); // (1)
  mla::forward(ctx, env.dims, w.mla, env.rope, stream.segments, Mat<const A>(h1), saved.mla,
               a);                                                                   // (2)
  after_attention(ctx, env, w, stream, x_TD, Mat<const A>(a), balance, saved, y_TD); // (3) - (6)
}

template <class A>
void backward_input(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                    const Stream &stream, Mat<const A> dy_TD, Mat<const A> x_TD,
                    const Balance &balance, const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                    Mat<A> dx_TD) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  if (full.dense)
    ffn::backward_input(ctx, w.ffn, dy_TD, full.ffn, deltas.ffn, deltas.dh2_TD); // (5)
  else
    moe_backward_input(ctx, env, w, stream, dy_TD, balance, full, deltas, deltas.dh2_TD); // (5)
  Kokkos::deep_copy(ctx.exec, deltas.dr_TD, dy_TD);                                       // (6)
  rms_norm::backward_input_acc(ctx, Mat<const A>(deltas.dh2_TD), Mat<const A>(full.r_TD),
                               w.ffn_norm_D, full.norm2, deltas.dr_TD); // (4)
  mla::backward_input(ctx, env.dims, w.mla, env.rope, stream.segments, Mat<const A>(deltas.dr_TD),
                      full.mla, deltas.mla, deltas.dh1_TD); // (2)
  Kokkos::deep_copy(ctx.exec, dx_TD, deltas.dr_TD);         // (3)
  rms_norm::backward_input_acc(ctx, Mat<const A>(deltas.dh1_TD), x_TD, w.attention_norm_D,
                               full.norm1, dx_TD); // (1)
}

template <class A>
void backward_weight(Context &ctx, const BlockEnv &env, Mat<const A> dy_TD, Mat<const A> x_TD,
                     const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                     const BlockGrads &acc) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const Mat<const A> h1 = full.h1_TD, h2 = full.h2_TD;
  if (full.dense) {
    ffn::backward_weight(ctx, dy_TD, h2, full.ffn, deltas.ffn, acc.ffn);
  } else {
    if (!env.ep) {
      experts::backward_weight(ctx, full.plan, full.experts, deltas.experts, acc.experts.at(0));
    } else {
      for (std::size_t s = 0; s < full.visitors->exchange.sources.size(); ++s)
        experts::backward_weight(ctx, full.visitors->exchange.sources[s].plan,
                                 deltas.visitors->full[s], deltas.visitors->experts[s],
                                 acc.experts.at(s));
    }
    if (env.dims.shared > 0)
      ffn::backward_weight(ctx, dy_TD, h2, full.shared, deltas.shared, acc.shared);
    router::backward_weight(ctx, Mat<const float>(deltas.dl_TE), full.router, acc.w_router_ED);
  }
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.dh2_TD), Mat<const A>(full.r_TD), full.norm2,
                            acc.ffn_norm_D);
  mla::backward_weight(ctx, env.dims, Mat<const A>(deltas.dr_TD), h1, full.mla, deltas.mla,
                       acc.mla);
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.dh1_TD), x_TD, full.norm1,
                            acc.attention_norm_D);
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

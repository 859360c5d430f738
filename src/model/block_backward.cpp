// SPDX-License-Identifier: Apache-2.0
#include "model/block_backward.hpp"

#include "model/journeys.hpp"

namespace model::block {
namespace {

using tensor::Arena;

template <class A> Index rows(const Backward<A> &b) { return static_cast<Index>(b.x_TD.extent(0)); }

// Arrays for this rank's experts on everybody's arrivals, and what was not kept of them.
template <class A> void prepare_visitors(Context &ctx, Backward<A> &b) {
  using namespace layers;
  const auto &v = *b.full.visitors;
  auto &d = *b.deltas.visitors;
  const Index D = b.env.dims.model, F = b.env.dims.expert_hidden;
  Context kept = ctx.within(*d.keep);
  for (const auto &source : v.route->sources()) {
    d.experts.push_back({Mat<A>(d.dy_BD.data() + source.first * D, source.rows, D),
                         d.keep->template mat<A>(source.rows, F),
                         d.keep->template mat<A>(source.rows, F)});
    const auto &saved = v.experts[d.full.size()];
    d.full.push_back(experts::refill(kept, source.plan, Mat<const float>(source.weight_B1),
                                     Mat<const A>(saved.x_AD), saved));
  }
}

// The reverse of the forward's visit: dy of everybody has come, dx and the gradients of the weights leave.
template <class A> void visit(Context &ctx, Backward<A> &b) {
  using namespace layers;
  const auto &v = *b.full.visitors;
  auto &d = *b.deltas.visitors;
  const Index D = b.env.dims.model, B = v.route->rows();
  prepare_visitors(ctx, b);
  const Mat<A> dx_BD = ctx.arena.template mat<A>(B, D);
  const Mat<float> dweight_B1 = ctx.arena.template mat<float>(B, 1);
  arrive(ctx, b.env, b.flight);
  {
    const Computing span(b.env.flights, b.env.label("experts B"));
    for (std::size_t s = 0; s < d.experts.size(); ++s) {
      const auto &source = v.route->sources()[s];
      experts::backward_input(ctx, source.plan, Mat<const float>(source.weight_B1), b.w.experts,
                              d.full[s], d.experts[s],
                              Mat<A>(dx_BD.data() + source.first * D, source.rows, D),
                              Mat<float>(dweight_B1.data() + source.first, source.rows, 1));
    }
  }
  b.flight = v.route->combine_gradient(ctx, Mat<const A>(dx_BD), Mat<const float>(dweight_B1),
                                       b.dweight_TK);
  leave(ctx, b.env, "dispatch B", *b.flight);
}

// Reverse of the mixture's last steps: what came home, the shared expert, the router.
template <class A> void mixture_input(Context &ctx, Backward<A> &b) {
  using namespace layers;
  const auto &dims = b.env.dims;
  const char *label = "layers::dispatch::combine_gradient";
  if (b.full.visitors)
    b.full.visitors->route->sum(ctx, label, *b.flight, Mat<const A>(b.ds_TD), b.deltas.dh2_TD);
  else
    dispatch::combine(ctx, label, dims, b.full.plan,
                      Mat<const std::int32_t>(b.full.router.expert_TK), Mat<const A>(b.dx_AD),
                      Mat<const A>(b.ds_TD), b.deltas.dh2_TD);
  b.flight.reset();
  router::backward_input(ctx, dims, b.w.w_router_ED, Mat<const float>(b.dweight_TK),
                         b.stream.samples, b.balance.alpha, b.balance.scale, b.full.router,
                         b.deltas.dl_TE, b.deltas.dh2_TD);
}

} // namespace

template <class A> void open(Context &ctx, Backward<A> &b) {
  if (!b.full.visitors) return;
  const auto &route = b.full.visitors->route;
  auto &d = *b.deltas.visitors;
  d.experts.clear(), d.full.clear();
  d.dy_BD = d.keep->template mat<A>(route->rows(), b.env.dims.model);
  b.flight = route->dispatch_gradient(ctx, b.dy_TD, d.dy_BD);
  leave(ctx, b.env, "combine B", *b.flight);
}

template <class A> void mlp(Context &ctx, Backward<A> &b) { // (5)
  using namespace layers;
  const auto &dims = b.env.dims;
  if (b.full.dense) {
    const Computing span(b.env.flights, b.env.label("dense B"));
    return ffn::backward_input(ctx, b.w.ffn, b.dy_TD, b.full.ffn, b.deltas.ffn, b.deltas.dh2_TD);
  }
  b.dweight_TK = ctx.arena.template mat<float>(rows(b), dims.chosen);
  if (dims.shared > 0) {
    const Computing span(b.env.flights, b.env.label("shared B"));
    b.ds_TD = ctx.arena.template mat<A>(rows(b), dims.model);
    ffn::backward_input(ctx, b.w.shared, b.dy_TD, b.full.shared, b.deltas.shared, b.ds_TD);
  }
  if (b.full.visitors) return visit(ctx, b);
  const Computing span(b.env.flights, b.env.label("experts B"));
  b.dx_AD = ctx.arena.template mat<A>(rows(b) * dims.chosen, dims.model);
  dispatch::gather(ctx, "layers::dispatch::gather_gradient", b.full.plan, b.dy_TD,
                   b.deltas.experts.dy_AD);
  experts::backward_input(ctx, b.full.plan, Mat<const float>(b.full.router.weight_TK), b.w.experts,
                          b.full.experts, b.deltas.experts, b.dx_AD, b.dweight_TK);
}

template <class A> void attention(Context &ctx, Backward<A> &b) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  arrive(ctx, b.env, b.flight);
  const Computing span(b.env.flights, b.env.label("attention B"));
  const auto &d = b.deltas;
  if (!b.full.dense) mixture_input(ctx, b);      // (5)
  Kokkos::deep_copy(ctx.exec, d.dr_TD, b.dy_TD); // (6)
  rms_norm::backward_input_acc(ctx, Mat<const A>(d.dh2_TD), Mat<const A>(b.full.r_TD),
                               b.w.ffn_norm_D, b.full.norm2, d.dr_TD); // (4)
  mla::backward_input(ctx, b.env.dims, b.w.mla, b.env.rope, b.stream.segments,
                      Mat<const A>(d.dr_TD), b.full.mla, d.mla, d.dh1_TD); // (2)
  Kokkos::deep_copy(ctx.exec, b.dx_TD, d.dr_TD);                           // (3)
  rms_norm::backward_input_acc(ctx, Mat<const A>(d.dh1_TD), b.x_TD, b.w.attention_norm_D,
                               b.full.norm1, b.dx_TD); // (1)
}

template <class A>
void mlp_weight(Context &ctx, const BlockEnv &env, Mat<const A> dy_TD, const BlockSaved<A> &full,
                const BlockDeltas<A> &deltas, const BlockGrads &acc) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const Computing span(env.flights, env.label(full.dense ? "dense W" : "experts W"));
  const Mat<const A> h2 = full.h2_TD;
  if (full.dense) return ffn::backward_weight(ctx, dy_TD, h2, full.ffn, deltas.ffn, acc.ffn);
  if (!full.visitors)
    experts::backward_weight(ctx, full.plan, full.experts, deltas.experts, acc.experts.at(0));
  else
    for (std::size_t s = 0; s < deltas.visitors->experts.size(); ++s)
      experts::backward_weight(ctx, full.visitors->route->sources()[s].plan,
                               deltas.visitors->full[s], deltas.visitors->experts[s],
                               acc.experts.at(s));
  if (env.dims.shared > 0)
    ffn::backward_weight(ctx, dy_TD, h2, full.shared, deltas.shared, acc.shared);
}

template <class A>
void attention_weight(Context &ctx, const BlockEnv &env, Mat<const A> x_TD,
                      const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                      const BlockGrads &acc) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const Computing span(env.flights, env.label("attention W"));
  if (!full.dense)
    router::backward_weight(ctx, Mat<const float>(deltas.dl_TE), full.router, acc.w_router_ED);
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.dh2_TD), Mat<const A>(full.r_TD), full.norm2,
                            acc.ffn_norm_D);
  mla::backward_weight(ctx, env.dims, Mat<const A>(deltas.dr_TD), Mat<const A>(full.h1_TD),
                       full.mla, deltas.mla, acc.mla);
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.dh1_TD), x_TD, full.norm1,
                            acc.attention_norm_D);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void open(Context &, Backward<A> &);                                                    \
  template void mlp(Context &, Backward<A> &);                                                     \
  template void attention(Context &, Backward<A> &);                                               \
  template void mlp_weight(Context &, const BlockEnv &, Mat<const A>, const BlockSaved<A> &,       \
                           const BlockDeltas<A> &, const BlockGrads &);                            \
  template void attention_weight(Context &, const BlockEnv &, Mat<const A>, const BlockSaved<A> &, \
                                 const BlockDeltas<A> &, const BlockGrads &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model::block

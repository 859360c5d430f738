// SPDX-License-Identifier: Apache-2.0
#include "model/block_forward.hpp"

#include "model/journeys.hpp"
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

template <class A> Index rows(const Forward<A> &f) { return static_cast<Index>(f.x_TD.extent(0)); }
template <class A> Mat<A> model_rows(Context &ctx, const Forward<A> &f) {
  return ctx.arena.template mat<A>(rows(f), f.env.dims.model);
}

template <class A> void start(Context &ctx, Forward<A> &f) {
  f.h2_TD = f.env.recompute.norms ? model_rows(ctx, f) : f.saved.h2_TD;
}

template <class A> void residual(Context &ctx, Forward<A> &f, Mat<const A> a_TD) {
  using namespace layers;
  sum(ctx, "model::block::add_attention", read(f.x_TD), read(a_TD), flat(f.saved.r_TD)); // (3)
  rms_norm::forward(ctx, Mat<const A>(f.saved.r_TD), f.w.ffn_norm_D, eps(f.env), f.h2_TD,
                    f.saved.norm2); // (4)
}

// Chooses the experts, and lets the rows leave for them.
template <class A> void route(Context &ctx, Forward<A> &f) {
  using namespace layers;
  const auto &dims = f.env.dims;
  const auto &s = f.saved;
  router::forward(ctx, dims, f.w.w_router_ED, f.w.bias_E, Mat<const A>(f.h2_TD), f.stream.samples,
                  f.balance.alpha, s.router, f.balance.load_E, f.balance.balance_S);
  dispatch::plan(ctx, dims, s.router.expert_TK, s.plan);
  if (!s.visitors) return;
  auto &v = *s.visitors;
  v.route = dispatch::make_route<A>(f.env.group, dims, s.plan, *v.keep);
  v.route->belongs_to(f.env.micro_batch);
  f.flight = v.route->dispatch(ctx, Mat<const std::int32_t>(s.router.expert_TK),
                               Mat<const float>(s.router.weight_TK), Mat<const A>(f.h2_TD));
  leave(ctx, f.env, "dispatch F", *f.flight);
}

// This rank's experts on everybody's arrivals; the results leave.
template <class A> void visit(Context &ctx, Forward<A> &f) {
  using namespace layers;
  auto &v = *f.saved.visitors;
  const auto &dims = f.env.dims;
  const Index D = dims.model;
  arrive(ctx, f.env, f.flight);
  const Mat<A> x_BD = v.route->x_BD(), y_BD = ctx.arena.template mat<A>(v.route->rows(), D);
  v.experts.clear();
  {
    const Computing span(f.env.flights, f.env.label("experts F"));
    for (const auto &source : v.route->sources()) {
      auto of_source = experts::allocate_rows<A>(*v.keep, dims, source.rows,
                                                 experts::Keep{false, !f.env.recompute.swiglu});
      of_source.x_AD = Mat<A>(x_BD.data() + source.first * D, source.rows, D);
      experts::forward(ctx, source.plan, Mat<const float>(source.weight_B1), f.w.experts,
                       Mat<const A>(of_source.x_AD), of_source,
                       Mat<A>(y_BD.data() + source.first * D, source.rows, D));
      v.experts.push_back(of_source);
    }
  }
  f.flight = v.route->combine(ctx, Mat<const A>(y_BD));
  leave(ctx, f.env, "combine F", *f.flight);
}

} // namespace

template <class A> void attention(Context &ctx, Forward<A> &f) {
  using namespace layers;
  const Computing span(f.env.flights, f.env.label("attention F"));
  start(ctx, f);
  {
    Arena::Scope scope(ctx.arena);
    const Mat<A> h1 = f.env.recompute.norms ? model_rows(ctx, f) : f.saved.h1_TD,
                 a = model_rows(ctx, f);
    rms_norm::forward(ctx, f.x_TD, f.w.attention_norm_D, eps(f.env), h1, f.saved.norm1); // (1)
    mla::forward(ctx, f.env.dims, f.w.mla, f.env.rope, f.stream.segments, Mat<const A>(h1),
                 f.saved.mla, a); // (2)
    residual(ctx, f, Mat<const A>(a));
  }
  if (!f.saved.dense) route(ctx, f);
}

template <class A> void after_attention(Context &ctx, Forward<A> &f, Mat<const A> a_TD) {
  start(ctx, f);
  residual(ctx, f, a_TD);
  if (!f.saved.dense) route(ctx, f);
}

template <class A> void mlp(Context &ctx, Forward<A> &f) { // (5)
  using namespace layers;
  const auto &dims = f.env.dims;
  const auto &s = f.saved;
  if (s.dense || dims.shared > 0) {
    const Computing span(f.env.flights, f.env.label(s.dense ? "dense F" : "shared F"));
    f.s_TD = model_rows(ctx, f);
    ffn::forward(ctx, s.dense ? f.w.ffn : f.w.shared, Mat<const A>(f.h2_TD),
                 s.dense ? s.ffn : s.shared, f.s_TD);
  }
  if (s.visitors) {
    visit(ctx, f);
  } else if (!s.dense) {
    const Computing span(f.env.flights, f.env.label("experts F"));
    f.y_AD = ctx.arena.template mat<A>(rows(f) * dims.chosen, dims.model);
    experts::forward(ctx, s.plan, Mat<const float>(s.router.weight_TK), f.w.experts,
                     Mat<const A>(f.h2_TD), s.experts, f.y_AD);
  }
}

template <class A> void close(Context &ctx, Forward<A> &f) {
  using namespace layers;
  Arena::Scope scope(ctx.arena);
  const auto &s = f.saved;
  arrive(ctx, f.env, f.flight);
  const Computing span(f.env.flights, f.env.label("sum F"));
  const Mat<A> m = s.dense ? f.s_TD : model_rows(ctx, f);
  if (s.visitors)
    s.visitors->route->sum(ctx, "layers::dispatch::combine", *f.flight, Mat<const A>(f.s_TD), m);
  else if (!s.dense)
    dispatch::combine(ctx, "layers::dispatch::combine", f.env.dims, s.plan,
                      Mat<const std::int32_t>(s.router.expert_TK), Mat<const A>(f.y_AD),
                      Mat<const A>(f.s_TD), m);
  f.flight.reset();
  sum(ctx, "model::block::add_ffn", read(s.r_TD), read(m), flat(f.y_TD)); // (6)
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void attention(Context &, Forward<A> &);                                                \
  template void after_attention(Context &, Forward<A> &, Mat<const A>);                            \
  template void mlp(Context &, Forward<A> &);                                                      \
  template void close(Context &, Forward<A> &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model::block

// SPDX-License-Identifier: Apache-2.0
#include "layers/ffn/ffn.hpp"

#include "base/error.hpp"
#include "numerics/exp.hpp"

namespace layers::ffn {

namespace {

// (3)
template <class A>
void swiglu(Context &ctx, const char *label, Mat<const A> g_TF, Mat<const A> u_TF, Mat<A> h_TF) {
  const Index T = g_TF.extent(0), F = g_TF.extent(1);
  tensor::for_rows(
      ctx, label, T, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *g = &g_TF(t, 0), *u = &u_TF(t, 0);
        A *h = &h_TF(t, 0);
        tensor::row_for(row, F, [&](const Index f) {
          h[f] = A(numerics::silu(static_cast<float>(g[f])) * static_cast<float>(u[f]));
        });
      });
  ctx.count(label, 12.0 * T * F, 3.0 * sizeof(A) * T * F);
}

// (3')
template <class A>
void swiglu_backward(Context &ctx, Mat<const A> dh_TF, const Saved<A> &saved,
                     const Deltas<A> &deltas) {
  const char *label = "layers::ffn::backward_input";
  const Index T = dh_TF.extent(0), F = dh_TF.extent(1);
  const auto g_TF = saved.g_TF, u_TF = saved.u_TF, dg_TF = deltas.dg_TF, du_TF = deltas.du_TF;
  tensor::for_rows(
      ctx, label, T, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *g_t = &g_TF(t, 0), *u_t = &u_TF(t, 0), *dh_t = &dh_TF(t, 0);
        A *dg_t = &dg_TF(t, 0), *du_t = &du_TF(t, 0);
        tensor::row_for(row, F, [&](const Index f) {
          const float g = g_t[f], u = u_t[f], dh = dh_t[f];
          const float s = numerics::sigmoid(g);
          du_t[f] = A(dh * g * s);
          dg_t[f] = A(dh * u * numerics::silu_slope(g, s));
        });
      });
  ctx.count(label, 18.0 * T * F, 5.0 * sizeof(A) * T * F);
}

} // namespace

template <class A>
Saved<A> allocate(tensor::Arena &arena, Index tokens, Index hidden, bool keep_swiglu) {
  Saved<A> saved;
  saved.g_TF = arena.mat<A>(tokens, hidden);
  saved.u_TF = arena.mat<A>(tokens, hidden);
  if (keep_swiglu) saved.h_TF = arena.mat<A>(tokens, hidden);
  return saved;
}

template <class A> Deltas<A> allocate_deltas(tensor::Arena &arena, Index tokens, Index hidden) {
  return {arena.mat<A>(tokens, hidden), arena.mat<A>(tokens, hidden)};
}

template <class A> Saved<A> refill(Context &ctx, const Saved<A> &saved) {
  Saved<A> full = saved;
  if (full.h_TF.data()) return full;
  full.h_TF = ctx.arena.mat<A>(saved.g_TF.extent(0), saved.g_TF.extent(1));
  swiglu<A>(ctx, "layers::ffn::refill", full.g_TF, full.u_TF, full.h_TF);
  return full;
}

template <class A>
void forward(Context &ctx, const Weights<A> &w, Mat<const A> x_TD, const Saved<A> &saved,
             Mat<A> y_TD) {
  tensor::Arena::Scope scope(ctx.arena);
  const auto h_TF =
      saved.h_TF.data() ? saved.h_TF : ctx.arena.mat<A>(saved.g_TF.extent(0), saved.g_TF.extent(1));
  numerics::linear<A, A>(ctx, "layers::ffn::forward::gate", x_TD, w.w_gate_FD, saved.g_TF); // (1)
  numerics::linear<A, A>(ctx, "layers::ffn::forward::up", x_TD, w.w_up_FD, saved.u_TF);     // (2)
  swiglu<A>(ctx, "layers::ffn::forward", saved.g_TF, saved.u_TF, h_TF);                     // (3)
  numerics::linear<A, A>(ctx, "layers::ffn::forward::down", h_TF, w.w_down_DF, y_TD);       // (4)
}

template <class A>
void backward_input(Context &ctx, const Weights<A> &w, Mat<const A> dy_TD, const Saved<A> &saved,
                    const Deltas<A> &deltas, Mat<A> dx_TD, bool accumulate) {
  tensor::Arena::Scope scope(ctx.arena);
  const auto dh_TF = ctx.arena.mat<A>(saved.g_TF.extent(0), saved.g_TF.extent(1));
  numerics::linear_backward_input<A>(ctx, "layers::ffn::backward_input::down", dy_TD, w.w_down_DF,
                                     dh_TF);     // (4')
  swiglu_backward<A>(ctx, dh_TF, saved, deltas); // (3')
  numerics::linear_backward_input<A>(ctx, "layers::ffn::backward_input::gate", deltas.dg_TF,
                                     w.w_gate_FD, dx_TD, accumulate); // (1')
  numerics::linear_backward_input<A>(ctx, "layers::ffn::backward_input::up", deltas.du_TF,
                                     w.w_up_FD, dx_TD, true); // (2')
}

template <class A>
void backward_weight(Context &ctx, Mat<const A> dy_TD, Mat<const A> x_TD, const Saved<A> &saved,
                     const Deltas<A> &deltas, const Grads &acc) {
  HADAL_CHECK(saved.h_TF.data(), "h_TF is neither kept nor refilled");
  numerics::linear_backward_weight<A>(ctx, "layers::ffn::backward_weight::down", dy_TD, saved.h_TF,
                                      acc.w_down_DF); // (4')
  numerics::linear_backward_weight<A>(ctx, "layers::ffn::backward_weight::gate", deltas.dg_TF, x_TD,
                                      acc.w_gate_FD); // (1')
  numerics::linear_backward_weight<A>(ctx, "layers::ffn::backward_weight::up", deltas.du_TF, x_TD,
                                      acc.w_up_FD); // (2')
}

template Saved<float> allocate(tensor::Arena &, Index, Index, bool);
template Deltas<float> allocate_deltas(tensor::Arena &, Index, Index);
template Saved<float> refill(Context &, const Saved<float> &);
template void forward(Context &, const Weights<float> &, Mat<const float>, const Saved<float> &,
                      Mat<float>);
template void backward_input(Context &, const Weights<float> &, Mat<const float>,
                             const Saved<float> &, const Deltas<float> &, Mat<float>, bool);
template void backward_weight(Context &, Mat<const float>, Mat<const float>, const Saved<float> &,
                              const Deltas<float> &, const Grads &);
template Saved<bf16> allocate(tensor::Arena &, Index, Index, bool);
template Deltas<bf16> allocate_deltas(tensor::Arena &, Index, Index);
template Saved<bf16> refill(Context &, const Saved<bf16> &);
template void forward(Context &, const Weights<bf16> &, Mat<const bf16>, const Saved<bf16> &,
                      Mat<bf16>);
template void backward_input(Context &, const Weights<bf16> &, Mat<const bf16>, const Saved<bf16> &,
                             const Deltas<bf16> &, Mat<bf16>, bool);
template void backward_weight(Context &, Mat<const bf16>, Mat<const bf16>, const Saved<bf16> &,
                              const Deltas<bf16> &, const Grads &);

} // namespace layers::ffn

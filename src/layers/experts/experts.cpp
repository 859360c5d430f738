// SPDX-License-Identifier: Apache-2.0
#include "layers/experts/experts.hpp"

#include "base/error.hpp"
#include "numerics/exp.hpp"

namespace layers::experts {

namespace {

std::span<const Index> offsets_of(const dispatch::Plan &plan) {
  return {plan.offsets.data(), plan.offsets.extent(0)};
}

// (3). Copy k of token t is arrival a: kernels walk the copies, so that nothing else need know which copy an arrival is.
template <class A>
void swiglu(Context &ctx, const char *label, const dispatch::Plan &plan, Mat<const float> weight_TK,
            Mat<const A> g_AF, Mat<const A> u_AF, Mat<A> h_AF) {
  const Index K = weight_TK.extent(1), F = g_AF.extent(1);
  const auto arrival_TK = plan.arrival_TK;
  tensor::for_rows(
      ctx, label, g_AF.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index copy) {
        const Index t = copy / K, k = copy % K, a = arrival_TK(t, k);
        const float weight = weight_TK(t, k);
        const A *g = &g_AF(a, 0), *u = &u_AF(a, 0);
        A *h = &h_AF(a, 0);
        tensor::row_for(row, F, [&](const Index f) {
          h[f] = A(weight * (numerics::silu(static_cast<float>(g[f])) * static_cast<float>(u[f])));
        });
      });
  ctx.count(label, 13.0 * g_AF.size(), 3.0 * sizeof(A) * g_AF.size());
}

// (3')
template <class A>
void swiglu_backward(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
                     Mat<const A> dh_AF, const Saved<A> &saved, const Deltas<A> &deltas,
                     Mat<float> dweight_TK) {
  const char *label = "layers::experts::backward_input";
  const Index K = weight_TK.extent(1), F = dh_AF.extent(1);
  const auto arrival_TK = plan.arrival_TK;
  const auto g_AF = saved.g_AF, u_AF = saved.u_AF, dg_AF = deltas.dg_AF, du_AF = deltas.du_AF;
  tensor::for_rows(
      ctx, label, dh_AF.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index copy) {
        const Index t = copy / K, k = copy % K, a = arrival_TK(t, k);
        const float weight = weight_TK(t, k);
        const A *g_a = &g_AF(a, 0), *u_a = &u_AF(a, 0), *dh_a = &dh_AF(a, 0);
        A *dg_a = &dg_AF(a, 0), *du_a = &du_AF(a, 0);
        const float dweight = tensor::row_sum(row, F, [&](const Index f) {
          const float g = g_a[f], u = u_a[f], dh = dh_a[f];
          const float s = numerics::sigmoid(g), silu = g * s;
          du_a[f] = A(dh * weight * silu);
          dg_a[f] = A(dh * weight * u * numerics::silu_slope(g, s));
          return dh * silu * u;
        });
        tensor::row_once(row, [&] { dweight_TK(t, k) = dweight; });
      });
  ctx.count(label, 22.0 * dh_AF.size(), 5.0 * sizeof(A) * dh_AF.size());
}

} // namespace

template <class A>
Saved<A> allocate_rows(tensor::Arena &arena, const arch::Dims &dims, Index arrivals, Keep keep) {
  Saved<A> saved;
  if (keep.arrivals) saved.x_AD = arena.mat<A>(arrivals, dims.model);
  saved.g_AF = arena.mat<A>(arrivals, dims.expert_hidden);
  saved.u_AF = arena.mat<A>(arrivals, dims.expert_hidden);
  if (keep.swiglu) saved.h_AF = arena.mat<A>(arrivals, dims.expert_hidden);
  return saved;
}

template <class A>
Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens, Keep keep) {
  return allocate_rows<A>(arena, dims, tokens * dims.chosen, keep);
}

template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, Index tokens) {
  return allocate_delta_rows<A>(arena, dims, tokens * dims.chosen);
}

template <class A>
Deltas<A> allocate_delta_rows(tensor::Arena &arena, const arch::Dims &dims, Index arrivals) {
  return {arena.mat<A>(arrivals, dims.model), arena.mat<A>(arrivals, dims.expert_hidden),
          arena.mat<A>(arrivals, dims.expert_hidden)};
}

template <class A>
Saved<A> refill(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
                Mat<const A> x_TD, const Saved<A> &saved) {
  Saved<A> full = saved;
  const Index arrivals = saved.g_AF.extent(0);
  if (!full.x_AD.data()) {
    full.x_AD = ctx.arena.mat<A>(arrivals, x_TD.extent(1));
    dispatch::gather<A>(ctx, "layers::experts::refill::gather", plan, x_TD, full.x_AD);
  }
  if (!full.h_AF.data()) {
    full.h_AF = ctx.arena.mat<A>(arrivals, saved.g_AF.extent(1));
    swiglu<A>(ctx, "layers::experts::refill", plan, weight_TK, full.g_AF, full.u_AF, full.h_AF);
  }
  return full;
}

template <class A>
void forward(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
             const Weights<A> &w, Mat<const A> x_TD, const Saved<A> &saved, Mat<A> y_AD) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index arrivals = saved.g_AF.extent(0);
  const auto x_AD = saved.x_AD.data() ? saved.x_AD : ctx.arena.mat<A>(arrivals, x_TD.extent(1));
  const auto h_AF =
      saved.h_AF.data() ? saved.h_AF : ctx.arena.mat<A>(arrivals, saved.g_AF.extent(1));
  const auto offsets = offsets_of(plan);
  if (x_AD.data() != x_TD.data())
    dispatch::gather<A>(ctx, "layers::experts::forward::gather", plan, x_TD, x_AD);
  numerics::grouped_linear<A, A>(ctx, "layers::experts::forward::gate", offsets, x_AD, w.w_gate_EFD,
                                 saved.g_AF); // (1)
  numerics::grouped_linear<A, A>(ctx, "layers::experts::forward::up", offsets, x_AD, w.w_up_EFD,
                                 saved.u_AF);                                                // (2)
  swiglu<A>(ctx, "layers::experts::forward", plan, weight_TK, saved.g_AF, saved.u_AF, h_AF); // (3)
  numerics::grouped_linear<A, A>(ctx, "layers::experts::forward::down", offsets, h_AF, w.w_down_EDF,
                                 y_AD); // (4)
}

template <class A>
void backward_input(Context &ctx, const dispatch::Plan &plan, Mat<const float> weight_TK,
                    const Weights<A> &w, const Saved<A> &saved, const Deltas<A> &deltas,
                    Mat<A> dx_AD, Mat<float> dweight_TK) {
  tensor::Arena::Scope scope(ctx.arena);
  const auto dh_AF = ctx.arena.mat<A>(saved.g_AF.extent(0), saved.g_AF.extent(1));
  const auto offsets = offsets_of(plan);
  numerics::grouped_linear_backward_input<A>(ctx, "layers::experts::backward_input::down", offsets,
                                             deltas.dy_AD, w.w_down_EDF, dh_AF); // (4')
  swiglu_backward<A>(ctx, plan, weight_TK, dh_AF, saved, deltas, dweight_TK);    // (3')
  numerics::grouped_linear_backward_input<A>(ctx, "layers::experts::backward_input::gate", offsets,
                                             deltas.dg_AF, w.w_gate_EFD, dx_AD); // (1')
  numerics::grouped_linear_backward_input<A>(ctx, "layers::experts::backward_input::up", offsets,
                                             deltas.du_AF, w.w_up_EFD, dx_AD, true); // (2')
}

template <class A>
void backward_weight(Context &ctx, const dispatch::Plan &plan, const Saved<A> &saved,
                     const Deltas<A> &deltas, const Grads &acc) {
  HADAL_CHECK(saved.x_AD.data() && saved.h_AF.data(), "x_AD or h_AF is neither kept nor refilled");
  const auto offsets = offsets_of(plan);
  numerics::grouped_linear_backward_weight<A>(ctx, "layers::experts::backward_weight::down",
                                              offsets, deltas.dy_AD, saved.h_AF,
                                              acc.w_down_EDF); // (4')
  numerics::grouped_linear_backward_weight<A>(ctx, "layers::experts::backward_weight::gate",
                                              offsets, deltas.dg_AF, saved.x_AD,
                                              acc.w_gate_EFD); // (1')
  numerics::grouped_linear_backward_weight<A>(ctx, "layers::experts::backward_weight::up", offsets,
                                              deltas.du_AF, saved.x_AD, acc.w_up_EFD); // (2')
}

template Saved<float> allocate(tensor::Arena &, const arch::Dims &, Index, Keep);
template Deltas<float> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template Saved<float> allocate_rows(tensor::Arena &, const arch::Dims &, Index, Keep);
template Deltas<float> allocate_delta_rows(tensor::Arena &, const arch::Dims &, Index);
template Saved<float> refill(Context &, const dispatch::Plan &, Mat<const float>, Mat<const float>,
                             const Saved<float> &);
template void forward(Context &, const dispatch::Plan &, Mat<const float>, const Weights<float> &,
                      Mat<const float>, const Saved<float> &, Mat<float>);
template void backward_input(Context &, const dispatch::Plan &, Mat<const float>,
                             const Weights<float> &, const Saved<float> &, const Deltas<float> &,
                             Mat<float>, Mat<float>);
template void backward_weight(Context &, const dispatch::Plan &, const Saved<float> &,
                              const Deltas<float> &, const Grads &);
template Saved<bf16> allocate(tensor::Arena &, const arch::Dims &, Index, Keep);
template Deltas<bf16> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template Saved<bf16> allocate_rows(tensor::Arena &, const arch::Dims &, Index, Keep);
template Deltas<bf16> allocate_delta_rows(tensor::Arena &, const arch::Dims &, Index);
template Saved<bf16> refill(Context &, const dispatch::Plan &, Mat<const float>, Mat<const bf16>,
                            const Saved<bf16> &);
template void forward(Context &, const dispatch::Plan &, Mat<const float>, const Weights<bf16> &,
                      Mat<const bf16>, const Saved<bf16> &, Mat<bf16>);
template void backward_input(Context &, const dispatch::Plan &, Mat<const float>,
                             const Weights<bf16> &, const Saved<bf16> &, const Deltas<bf16> &,
                             Mat<bf16>, Mat<float>);
template void backward_weight(Context &, const dispatch::Plan &, const Saved<bf16> &,
                              const Deltas<bf16> &, const Grads &);

} // namespace layers::experts

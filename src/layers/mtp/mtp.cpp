// SPDX-License-Identifier: Apache-2.0
#include "layers/mtp/mtp.hpp"

namespace layers::mtp {

namespace {

double elements(const Index rows, const Index width) {
  return static_cast<double>(rows) * static_cast<double>(width);
}

// (3) z = [e ; n], both normed into place.
template <class A>
void join(Context &ctx, const Mat<const A> e_TD, const Mat<const A> n_TD, const Mat<A> z_TZ) {
  const Index tokens = e_TD.extent(0), dim = e_TD.extent(1);
  ctx.count("layers::mtp::join", 0, 4 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::mtp::join", tokens, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *e = &e_TD(t, 0), *n = &n_TD(t, 0);
        A *z = &z_TZ(t, 0);
        tensor::row_for(row, dim, [=](const Index d) { z[d] = e[d], z[dim + d] = n[d]; });
      });
}

// (3') the halves of dz.
template <class A> void part(Context &ctx, const Mat<const A> dz_TZ, const Deltas<A> &deltas) {
  const Mat<A> de_TD = deltas.de_TD, dn_TD = deltas.dn_TD;
  const Index tokens = de_TD.extent(0), dim = de_TD.extent(1);
  ctx.count("layers::mtp::part", 0, 4 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::mtp::part", tokens, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *dz = &dz_TZ(t, 0);
        A *de = &de_TD(t, 0), *dn = &dn_TD(t, 0);
        tensor::row_for(row, dim, [=](const Index d) { de[d] = dz[d], dn[d] = dz[dim + d]; });
      });
}

} // namespace

template <class A>
Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, const Index tokens) {
  return {arena.mat<A>(tokens, 2 * dims.model), rms_norm::allocate(arena, tokens),
          rms_norm::allocate(arena, tokens)};
}

template <class A>
Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, const Index tokens) {
  return {arena.mat<A>(tokens, dims.model), arena.mat<A>(tokens, dims.model)};
}

template <class A>
void forward(Context &ctx, const Weights<A> &w, const float eps, const Mat<const A> emb_TD,
             const Mat<const A> h_TD, const Saved<A> &saved, const Mat<A> y_TD) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Mat<A> e_TD = ctx.arena.mat<A>(emb_TD.extent(0), emb_TD.extent(1)),
               n_TD = ctx.arena.mat<A>(h_TD.extent(0), h_TD.extent(1));
  rms_norm::forward<A>(ctx, emb_TD, w.embedding_norm_D, eps, e_TD, saved.embedding_norm); // (1)
  rms_norm::forward<A>(ctx, h_TD, w.hidden_norm_D, eps, n_TD, saved.hidden_norm);         // (2)
  join<A>(ctx, e_TD, n_TD, saved.z_TZ);                                                   // (3)
  numerics::linear<A, A>(ctx, "layers::mtp::forward", saved.z_TZ, w.w_proj_DZ, y_TD);     // (4)
}

template <class A>
void backward_input(Context &ctx, const Weights<A> &w, const Mat<const A> dy_TD,
                    const Mat<const A> emb_TD, const Mat<const A> h_TD, const Saved<A> &saved,
                    const Deltas<A> &deltas, const Mat<A> demb_TD, const Mat<A> dh_TD) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Mat<A> dz_TZ = ctx.arena.mat<A>(saved.z_TZ.extent(0), saved.z_TZ.extent(1));
  numerics::linear_backward_input<A>(ctx, "layers::mtp::backward_input", dy_TD, w.w_proj_DZ,
                                     dz_TZ); // (4')
  part<A>(ctx, dz_TZ, deltas);               // (3')
  rms_norm::backward_input<A>(ctx, deltas.dn_TD, h_TD, w.hidden_norm_D, saved.hidden_norm,
                              dh_TD); // (2')
  rms_norm::backward_input<A>(ctx, deltas.de_TD, emb_TD, w.embedding_norm_D, saved.embedding_norm,
                              demb_TD); // (1')
}

template <class A>
void backward_weight(Context &ctx, const Mat<const A> dy_TD, const Mat<const A> emb_TD,
                     const Mat<const A> h_TD, const Saved<A> &saved, const Deltas<A> &deltas,
                     const Grads &acc) {
  numerics::linear_backward_weight<A>(ctx, "layers::mtp::backward_weight", dy_TD, saved.z_TZ,
                                      acc.w_proj_DZ); // (4')
  rms_norm::backward_weight<A>(ctx, deltas.dn_TD, h_TD, saved.hidden_norm,
                               acc.hidden_norm_D); // (2')
  rms_norm::backward_weight<A>(ctx, deltas.de_TD, emb_TD, saved.embedding_norm,
                               acc.embedding_norm_D); // (1')
}

template <class A>
void narrow(Context &ctx, const Index samples, const Index rows, const Mat<const A> x_TD,
            const Mat<A> y_UD) {
  const Index dim = x_TD.extent(1), short_rows = rows - 1;
  HADAL_CHECK(static_cast<Index>(x_TD.extent(0)) == samples * rows &&
                  static_cast<Index>(y_UD.extent(0)) == samples * short_rows,
              "{} samples of {} rows from {} rows to {}", samples, rows, x_TD.extent(0),
              y_UD.extent(0));
  ctx.count("layers::mtp::narrow", 0, 2 * sizeof(A) * elements(samples * short_rows, dim));
  tensor::for_rows(
      ctx, "layers::mtp::narrow", samples * short_rows,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index u) {
        const A *x = &x_TD(u + u / short_rows, 0);
        A *y = &y_UD(u, 0);
        tensor::row_for(row, dim, [=](const Index d) { y[d] = x[d]; });
      });
}

template <class A>
void widen_acc(Context &ctx, const Index samples, const Index rows, const Mat<const A> y_UD,
               const Mat<A> x_TD_acc) {
  const Index dim = x_TD_acc.extent(1), short_rows = rows - 1;
  HADAL_CHECK(static_cast<Index>(x_TD_acc.extent(0)) == samples * rows &&
                  static_cast<Index>(y_UD.extent(0)) == samples * short_rows,
              "{} samples of {} rows to {} rows from {}", samples, rows, x_TD_acc.extent(0),
              y_UD.extent(0));
  ctx.count("layers::mtp::widen_acc", elements(samples * short_rows, dim),
            3 * sizeof(A) * elements(samples * short_rows, dim));
  tensor::for_rows(
      ctx, "layers::mtp::widen_acc", samples * short_rows,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index u) {
        const A *y = &y_UD(u, 0);
        A *x = &x_TD_acc(u + u / short_rows, 0);
        tensor::row_for(row, dim, [=](const Index d) {
          x[d] = A(static_cast<float>(x[d]) + static_cast<float>(y[d]));
        });
      });
}

template Saved<float> allocate(tensor::Arena &, const arch::Dims &, Index);
template Saved<bf16> allocate(tensor::Arena &, const arch::Dims &, Index);
template Deltas<float> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template Deltas<bf16> allocate_deltas(tensor::Arena &, const arch::Dims &, Index);
template void forward(Context &, const Weights<float> &, float, Mat<const float>, Mat<const float>,
                      const Saved<float> &, Mat<float>);
template void forward(Context &, const Weights<bf16> &, float, Mat<const bf16>, Mat<const bf16>,
                      const Saved<bf16> &, Mat<bf16>);
template void backward_input(Context &, const Weights<float> &, Mat<const float>, Mat<const float>,
                             Mat<const float>, const Saved<float> &, const Deltas<float> &,
                             Mat<float>, Mat<float>);
template void backward_input(Context &, const Weights<bf16> &, Mat<const bf16>, Mat<const bf16>,
                             Mat<const bf16>, const Saved<bf16> &, const Deltas<bf16> &, Mat<bf16>,
                             Mat<bf16>);
template void backward_weight(Context &, Mat<const float>, Mat<const float>, Mat<const float>,
                              const Saved<float> &, const Deltas<float> &, const Grads &);
template void backward_weight(Context &, Mat<const bf16>, Mat<const bf16>, Mat<const bf16>,
                              const Saved<bf16> &, const Deltas<bf16> &, const Grads &);
template void narrow(Context &, Index, Index, Mat<const float>, Mat<float>);
template void narrow(Context &, Index, Index, Mat<const bf16>, Mat<bf16>);
template void widen_acc(Context &, Index, Index, Mat<const float>, Mat<float>);
template void widen_acc(Context &, Index, Index, Mat<const bf16>, Mat<bf16>);

} // namespace layers::mtp

// SPDX-License-Identifier: Apache-2.0
#include "layers/mtp/mtp.hpp"

namespace layers::mtp {
namespace {

// Columns [first, first + D) of z from or to a packed matrix.
template <class A> void put(Context &ctx, const char *label, Mat<const A> y_TD, Index first, Mat<A> z_TZ) {
  const Index D = static_cast<Index>(y_TD.extent(1));
  ctx.count(label, 0, 2.0 * sizeof(A) * static_cast<double>(y_TD.size()));
  tensor::for_rows(ctx, label, static_cast<Index>(y_TD.extent(0)), KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
    tensor::row_for(row, D, [&](const Index d) { z_TZ(t, first + d) = y_TD(t, d); });
  });
}
template <class A> void take(Context &ctx, const char *label, Mat<const A> z_TZ, Index first, Mat<A> y_TD) {
  const Index D = static_cast<Index>(y_TD.extent(1));
  ctx.count(label, 0, 2.0 * sizeof(A) * static_cast<double>(y_TD.size()));
  tensor::for_rows(ctx, label, static_cast<Index>(y_TD.extent(0)), KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
    tensor::row_for(row, D, [&](const Index d) { y_TD(t, d) = z_TZ(t, first + d); });
  });
}

} // namespace

template <class A> Saved<A> allocate(tensor::Arena &arena, const arch::Dims &dims, Index tokens) {
  return {arena.mat<A>(tokens, 2 * dims.model), rms_norm::allocate(arena, tokens), rms_norm::allocate(arena, tokens)};
}

template <class A> Deltas<A> allocate_deltas(tensor::Arena &arena, const arch::Dims &dims, Index tokens) {
  return {arena.mat<A>(tokens, dims.model), arena.mat<A>(tokens, dims.model)};
}

template <class A>
void forward(Context &ctx, const Weights<A> &w, float eps, Mat<const A> emb_TD, Mat<const A> h_TD, const Saved<A> &saved, Mat<A> y_TD) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index D = static_cast<Index>(emb_TD.extent(1));
  Mat<A> normed = ctx.arena.template mat<A>(emb_TD.extent(0), D);
  rms_norm::forward(ctx, emb_TD, w.embedding_norm_D, eps, normed, saved.embedding_norm);            // (1)
  put(ctx, "layers::mtp::join_embedding", Mat<const A>(normed), 0, saved.z_TZ);                     // (3)
  rms_norm::forward(ctx, h_TD, w.hidden_norm_D, eps, normed, saved.hidden_norm);                    // (2)
  put(ctx, "layers::mtp::join_hidden", Mat<const A>(normed), D, saved.z_TZ);                        // (3)
  numerics::linear(ctx, "layers::mtp::project", Mat<const A>(saved.z_TZ), w.w_proj_DZ, y_TD);       // (4)
}

template <class A>
void backward_input(Context &ctx, const Weights<A> &w, Mat<const A> dy_TD, Mat<const A> emb_TD, Mat<const A> h_TD,
                    const Saved<A> &saved, const Deltas<A> &deltas, Mat<A> demb_TD, Mat<A> dh_TD) {
  tensor::Arena::Scope scope(ctx.arena);
  const Index D = static_cast<Index>(emb_TD.extent(1));
  Mat<A> dz = ctx.arena.template mat<A>(emb_TD.extent(0), 2 * D);
  numerics::linear_backward_input(ctx, "layers::mtp::project_B", dy_TD, w.w_proj_DZ, dz);           // (4')
  take(ctx, "layers::mtp::split_embedding", Mat<const A>(dz), 0, deltas.de_TD);                     // (3')
  take(ctx, "layers::mtp::split_hidden", Mat<const A>(dz), D, deltas.dn_TD);
  rms_norm::backward_input(ctx, Mat<const A>(deltas.de_TD), emb_TD, w.embedding_norm_D, saved.embedding_norm, demb_TD); // (1')
  rms_norm::backward_input(ctx, Mat<const A>(deltas.dn_TD), h_TD, w.hidden_norm_D, saved.hidden_norm, dh_TD);           // (2')
}

template <class A>
void backward_weight(Context &ctx, Mat<const A> dy_TD, Mat<const A> emb_TD, Mat<const A> h_TD, const Saved<A> &saved,
                     const Deltas<A> &deltas, const Grads &acc) {
  numerics::linear_backward_weight(ctx, "layers::mtp::project_W", dy_TD, Mat<const A>(saved.z_TZ), acc.w_proj_DZ);       // (4')
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.de_TD), emb_TD, saved.embedding_norm, acc.embedding_norm_D);        // (1')
  rms_norm::backward_weight(ctx, Mat<const A>(deltas.dn_TD), h_TD, saved.hidden_norm, acc.hidden_norm_D);                // (2')
}

template <class A> void narrow(Context &ctx, Index samples, Index rows, Mat<const A> x_TD, Mat<A> y_UD) {
  const Index D = static_cast<Index>(x_TD.extent(1)), fewer = rows - 1;
  HADAL_CHECK(static_cast<Index>(x_TD.extent(0)) == samples * rows && static_cast<Index>(y_UD.extent(0)) == samples * fewer,
              "{} samples of {} rows: {} to {}", samples, rows, x_TD.extent(0), y_UD.extent(0));
  ctx.count("layers::mtp::narrow", 0, 2.0 * sizeof(A) * static_cast<double>(y_UD.size()));
  tensor::for_rows(ctx, "layers::mtp::narrow", samples * fewer, KOKKOS_LAMBDA(const tensor::Row &row, const Index u) {
    const Index t = u / fewer * rows + u % fewer;
    tensor::row_for(row, D, [&](const Index d) { y_UD(u, d) = x_TD(t, d); });
  });
}

template <class A> void widen_acc(Context &ctx, Index samples, Index rows, Mat<const A> y_UD, Mat<A> x_TD_acc) {
  const Index D = static_cast<Index>(y_UD.extent(1)), fewer = rows - 1;
  HADAL_CHECK(static_cast<Index>(x_TD_acc.extent(0)) == samples * rows && static_cast<Index>(y_UD.extent(0)) == samples * fewer,
              "{} samples of {} rows: {} from {}", samples, rows, x_TD_acc.extent(0), y_UD.extent(0));
  ctx.count("layers::mtp::widen_acc", 0, 3.0 * sizeof(A) * static_cast<double>(y_UD.size()));
  tensor::for_rows(ctx, "layers::mtp::widen_acc", samples * fewer, KOKKOS_LAMBDA(const tensor::Row &row, const Index u) {
    const Index t = u / fewer * rows + u % fewer;
    tensor::row_for(row, D, [&](const Index d) { x_TD_acc(t, d) = A(static_cast<float>(x_TD_acc(t, d)) + static_cast<float>(y_UD(u, d))); });
  });
}

#define HADAL_INSTANTIATE(A)                                                                                              \
  template Saved<A> allocate<A>(tensor::Arena &, const arch::Dims &, Index);                                              \
  template Deltas<A> allocate_deltas<A>(tensor::Arena &, const arch::Dims &, Index);                                      \
  template void forward(Context &, const Weights<A> &, float, Mat<const A>, Mat<const A>, const Saved<A> &, Mat<A>);      \
  template void backward_input(Context &, const Weights<A> &, Mat<const A>, Mat<const A>, Mat<const A>, const Saved<A> &, \
                               const Deltas<A> &, Mat<A>, Mat<A>);                                                        \
  template void backward_weight(Context &, Mat<const A>, Mat<const A>, Mat<const A>, const Saved<A> &,                    \
                                const Deltas<A> &, const Grads &);                                                        \
  template void narrow(Context &, Index, Index, Mat<const A>, Mat<A>);                                                    \
  template void widen_acc(Context &, Index, Index, Mat<const A>, Mat<A>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::mtp

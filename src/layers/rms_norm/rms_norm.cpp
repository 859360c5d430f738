// SPDX-License-Identifier: Apache-2.0
#include "layers/rms_norm/rms_norm.hpp"

namespace layers::rms_norm {

namespace {

// Rows whose products are summed together in backward_weight: fixed, so that the order of the sum is too.
constexpr Index kRowBlock = 128;

double elements(const Index tokens, const Index dim) {
  return static_cast<double>(tokens) * static_cast<double>(dim);
}

// dx of one row, handed to put(d, value): shared by the overwriting and the adding form.
template <class A, class Put>
KOKKOS_INLINE_FUNCTION void reverse_row(const tensor::Row &row, const A *dy, const A *x,
                                        const float *g, const float r, const Index dim,
                                        const Put &put) {
  const float ux = tensor::row_sum(row, dim, [=](const Index d) {
    return static_cast<float>(dy[d]) * g[d] * static_cast<float>(x[d]);
  });
  const float c = r * r * ux / static_cast<float>(dim);
  tensor::row_for(row, dim, [=](const Index d) {
    const float u = static_cast<float>(dy[d]) * g[d];  // (2')
    put(d, r * fmaf(-c, static_cast<float>(x[d]), u)); // (1')
  });
}

} // namespace

Saved allocate(tensor::Arena &arena, const Index tokens) { return Saved{arena.vec<float>(tokens)}; }

template <class A>
void forward(Context &ctx, const Mat<const A> x_TD, const Vec<const float> g_D, const float eps,
             const Mat<A> y_TD, const Saved &saved) {
  const Index tokens = x_TD.extent(0), dim = x_TD.extent(1);
  const Vec<float> r_T = saved.r_T;
  ctx.count("layers::rms_norm::forward", 4 * elements(tokens, dim),
            2 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::rms_norm::forward", tokens,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *x = &x_TD(t, 0);
        const float *g = g_D.data();
        A *y = &y_TD(t, 0);
        const float sum = tensor::row_sum(row, dim, [=](const Index d) {
          return static_cast<float>(x[d]) * static_cast<float>(x[d]);
        });
        const float r = 1.0F / sqrtf(sum / static_cast<float>(dim) + eps); // (1)
        tensor::row_once(row, [=] { r_T(t) = r; });
        tensor::row_for(
            row, dim, [=](const Index d) { y[d] = A(static_cast<float>(x[d]) * r * g[d]); }); // (2)
      });
}

template <class A>
void refill(Context &ctx, const Mat<const A> x_TD, const Vec<const float> g_D, const Saved &saved,
            const Mat<A> y_TD) {
  const Index tokens = x_TD.extent(0), dim = x_TD.extent(1);
  const Vec<float> r_T = saved.r_T;
  ctx.count("layers::rms_norm::refill", 2 * elements(tokens, dim),
            2 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::rms_norm::refill", tokens,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *x = &x_TD(t, 0);
        const float *g = g_D.data();
        A *y = &y_TD(t, 0);
        const float r = r_T(t);
        tensor::row_for(
            row, dim, [=](const Index d) { y[d] = A(static_cast<float>(x[d]) * r * g[d]); }); // (2)
      });
}

template <class A>
void backward_input(Context &ctx, const Mat<const A> dy_TD, const Mat<const A> x_TD,
                    const Vec<const float> g_D, const Saved &saved, const Mat<A> dx_TD) {
  const Index tokens = x_TD.extent(0), dim = x_TD.extent(1);
  const Vec<float> r_T = saved.r_T;
  ctx.count("layers::rms_norm::backward_input", 7 * elements(tokens, dim),
            3 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::rms_norm::backward_input", tokens,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        A *dx = &dx_TD(t, 0);
        reverse_row(row, &dy_TD(t, 0), &x_TD(t, 0), g_D.data(), r_T(t), dim,
                    [=](const Index d, const float v) { dx[d] = A(v); });
      });
}

template <class A>
void backward_input_acc(Context &ctx, const Mat<const A> dy_TD, const Mat<const A> x_TD,
                        const Vec<const float> g_D, const Saved &saved, const Mat<A> dx_TD_acc) {
  const Index tokens = x_TD.extent(0), dim = x_TD.extent(1);
  const Vec<float> r_T = saved.r_T;
  ctx.count("layers::rms_norm::backward_input_acc", 8 * elements(tokens, dim),
            4 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::rms_norm::backward_input_acc", tokens,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        A *dx = &dx_TD_acc(t, 0);
        reverse_row(
            row, &dy_TD(t, 0), &x_TD(t, 0), g_D.data(), r_T(t), dim,
            [=](const Index d, const float v) { dx[d] = A(static_cast<float>(dx[d]) + v); });
      });
}

// The rows are cut into blocks of kRowBlock; each block sums its rows in order, then the blocks are added in order.
template <class A>
void backward_weight(Context &ctx, const Mat<const A> dy_TD, const Mat<const A> x_TD,
                     const Saved &saved, const Vec<float> dg_D_acc) {
  const Index tokens = x_TD.extent(0), dim = x_TD.extent(1);
  const Index blocks = (tokens + kRowBlock - 1) / kRowBlock;
  const tensor::Arena::Scope scope(ctx.arena);
  const Mat<float> part_BD = ctx.arena.mat<float>(blocks, dim);
  const Vec<float> r_T = saved.r_T;
  ctx.count("layers::rms_norm::backward_weight", 3 * elements(tokens, dim),
            2 * sizeof(A) * elements(tokens, dim));
  tensor::for_rows(
      ctx, "layers::rms_norm::backward_weight", blocks,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index b) {
        float *part = &part_BD(b, 0);
        const Index first = b * kRowBlock,
                    last = first + kRowBlock < tokens ? first + kRowBlock : tokens;
        tensor::row_for(row, dim, [=](const Index d) { part[d] = 0; });
        for (Index t = first; t < last; ++t) {
          const A *dy = &dy_TD(t, 0), *x = &x_TD(t, 0);
          const float r = r_T(t);
          tensor::row_for(row, dim, [=](const Index d) {
            part[d] = fmaf(static_cast<float>(dy[d]) * static_cast<float>(x[d]), r, part[d]);
          }); // (2')
        }
      });
  tensor::for_each(
      ctx, "layers::rms_norm::backward_weight_blocks", dim, KOKKOS_LAMBDA(const Index d) {
        float sum = 0;
        for (Index b = 0; b < blocks; ++b) sum += part_BD(b, d);
        dg_D_acc(d) += sum;
      });
}

template void forward(Context &, Mat<const float>, Vec<const float>, float, Mat<float>,
                      const Saved &);
template void forward(Context &, Mat<const bf16>, Vec<const float>, float, Mat<bf16>,
                      const Saved &);
template void refill(Context &, Mat<const float>, Vec<const float>, const Saved &, Mat<float>);
template void refill(Context &, Mat<const bf16>, Vec<const float>, const Saved &, Mat<bf16>);
template void backward_input(Context &, Mat<const float>, Mat<const float>, Vec<const float>,
                             const Saved &, Mat<float>);
template void backward_input(Context &, Mat<const bf16>, Mat<const bf16>, Vec<const float>,
                             const Saved &, Mat<bf16>);
template void backward_input_acc(Context &, Mat<const float>, Mat<const float>, Vec<const float>,
                                 const Saved &, Mat<float>);
template void backward_input_acc(Context &, Mat<const bf16>, Mat<const bf16>, Vec<const float>,
                                 const Saved &, Mat<bf16>);
template void backward_weight(Context &, Mat<const float>, Mat<const float>, const Saved &,
                              Vec<float>);
template void backward_weight(Context &, Mat<const bf16>, Mat<const bf16>, const Saved &,
                              Vec<float>);

} // namespace layers::rms_norm

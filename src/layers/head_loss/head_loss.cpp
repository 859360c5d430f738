// SPDX-License-Identifier: Apache-2.0
#include "layers/head_loss/head_loss.hpp"

#include "numerics/exp.hpp"

namespace layers::head_loss {

namespace {

template <class T> Mat<T> rows_of(const Mat<T> &m, Index first, Index rows) {
  return Mat<T>(m.data() + first * m.extent(1), rows, m.extent(1));
}
template <class T> Vec<T> part_of(const Vec<T> &v, Index first, Index rows) {
  return Vec<T>(v.data() + first, rows);
}

// f(first row, rows, logits [rows, W]) for each chunk; the logits are made under the label.
template <class A, class F>
void for_chunks(Context &ctx, const char *label, Mat<const A> x_TD, Mat<const A> w_WD, const F &f) {
  const Index T = x_TD.extent(0), W = w_WD.extent(0);
  for (Index first = 0; first < T; first += kChunkRows) {
    tensor::Arena::Scope scope(ctx.arena);
    const Index rows = T - first < kChunkRows ? T - first : kChunkRows;
    const auto l_RW = ctx.arena.mat<float>(rows, W);
    numerics::linear<A, float>(ctx, label, rows_of(x_TD, first, rows), w_WD, l_RW); // (1)
    f(first, rows, l_RW);
  }
}

// dL/dloss of a row: one number for all, or each row its own.
struct Same {
  float value;
  Same part(Index, Index) const { return *this; }
  KOKKOS_INLINE_FUNCTION float operator()(Index) const { return value; }
};
struct Each {
  Vec<const float> value_T;
  Each part(Index first, Index rows) const { return {part_of(value_T, first, rows)}; }
  KOKKOS_INLINE_FUNCTION float operator()(Index r) const { return value_T(r); }
};

// Where dl goes: over the logits (float), or beside them.
template <class A> Mat<A> place_of_dl(Context &ctx, Mat<float> l_RW) {
  if constexpr (std::is_same_v<A, float>) return l_RW;
  return ctx.arena.mat<A>(l_RW.extent(0), l_RW.extent(1));
}

KOKKOS_INLINE_FUNCTION float log_sum_exp(const tensor::Row &row, const float *l, Index W) {
  const float top = tensor::row_max(row, W, [&](const Index w) { return l[w]; });
  const float sum =
      tensor::row_sum(row, W, [&](const Index w) { return numerics::fast_exp(l[w] - top); });
  return top + logf(sum);
}

// (3'), element by element: dl may lie over l.
template <class A>
KOKKOS_INLINE_FUNCTION void row_gradient(const tensor::Row &row, const float *l, Index W,
                                         std::int32_t target, float lse, float scale, A *dl) {
  if (target < 0) {
    tensor::row_for(row, W, [&](const Index w) { dl[w] = A(0.0f); });
    return;
  }
  tensor::row_for(row, W, [&](const Index w) {
    const float one = static_cast<std::int32_t>(w) == target ? 1.0f : 0.0f;
    dl[w] = A(scale * (numerics::fast_exp(l[w] - lse) - one));
  });
}

// (2), (3)
void losses(Context &ctx, Mat<const float> l_RW, Vec<const std::int32_t> target_R, Vec<float> lse_R,
            Vec<float> loss_R) {
  const char *label = "layers::head_loss::forward";
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, label, l_RW.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const float *l = &l_RW(r, 0);
        const float lse = log_sum_exp(row, l, W);
        const std::int32_t target = target_R(r);
        tensor::row_once(row, [&] {
          lse_R(r) = lse;
          loss_R(r) = target < 0 ? 0.0f : lse - l[target];
        });
      });
  ctx.count(label, 20.0 * l_RW.size(), 4.0 * l_RW.size());
}

// (4)
void entropies(Context &ctx, Mat<const float> l_RW, Vec<const std::int32_t> target_R,
               Vec<const float> lse_R, Vec<float> entropy_R) {
  const char *label = "layers::head_loss::entropy";
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, label, l_RW.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const float *l = &l_RW(r, 0);
        const float lse = lse_R(r);
        const float sum = tensor::row_sum(row, W, [&](const Index w) {
          const float below = lse - l[w]; // a logit of -inf: 0 times inf
          return below > 104.0f ? 0.0f : numerics::fast_exp(-below) * below;
        });
        const bool counts = target_R(r) >= 0;
        tensor::row_once(row, [&] { entropy_R(r) = counts ? sum : 0.0f; });
      });
  ctx.count(label, 20.0 * l_RW.size(), 4.0 * l_RW.size());
}

// (3')
template <class A, class Scale>
void gradients(Context &ctx, const char *label, Mat<const float> l_RW,
               Vec<const std::int32_t> target_R, Vec<const float> lse_R, Scale scale,
               Mat<A> dl_RW) {
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, label, l_RW.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        row_gradient(row, &l_RW(r, 0), W, target_R(r), lse_R(r), scale(r), &dl_RW(r, 0));
      });
  ctx.count(label, 18.0 * l_RW.size(), (4.0 + sizeof(A)) * l_RW.size());
}

// (2), (3), (3') while the row is in cache.
template <class A>
void losses_and_gradients(Context &ctx, Mat<const float> l_RW, Vec<const std::int32_t> target_R,
                          float scale, Vec<float> lse_R, Vec<float> loss_R, Mat<A> dl_RW) {
  const char *label = "layers::head_loss::forward_backward";
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, label, l_RW.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const float *l = &l_RW(r, 0);
        const std::int32_t target = target_R(r);
        const float lse = log_sum_exp(row, l, W);
        const float loss = target < 0 ? 0.0f : lse - l[target];
        tensor::row_once(row, [&] { lse_R(r) = lse, loss_R(r) = loss; });
        tensor::row_barrier(row); // l[target] has been read by all before dl may take its place
        row_gradient(row, l, W, target, lse, scale, &dl_RW(r, 0));
      });
  ctx.count(label, 38.0 * l_RW.size(), (4.0 + sizeof(A)) * l_RW.size());
}

// dl of each chunk, handed on: f(first row, rows, dl).
template <class A, class Scale, class F>
void for_gradients(Context &ctx, const char *logits, const char *label, Mat<const A> x_TD,
                   Mat<const A> w_WD, Vec<const std::int32_t> target_T, Vec<const float> lse_T,
                   Scale scale, const F &f) {
  for_chunks<A>(ctx, logits, x_TD, w_WD, [&](Index first, Index rows, Mat<float> l_RW) {
    const auto dl_RW = place_of_dl<A>(ctx, l_RW);
    gradients<A>(ctx, label, l_RW, part_of(target_T, first, rows), part_of(lse_T, first, rows),
                 scale.part(first, rows), dl_RW);
    f(first, rows, dl_RW);
  });
}

template <class A, class Scale>
void input_gradient(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                    Vec<const std::int32_t> target_T, Vec<const float> lse_T, Scale scale,
                    Mat<A> dx_TD) {
  for_gradients<A>(
      ctx, "layers::head_loss::backward_input::logits", "layers::head_loss::backward_input", x_TD,
      w_WD, target_T, lse_T, scale, [&](Index first, Index rows, Mat<A> dl_RW) {
        numerics::linear_backward_input<A>(ctx, "layers::head_loss::backward_input::input", dl_RW,
                                           w_WD, rows_of(dx_TD, first, rows));
      });
}

template <class A, class Scale>
void weight_gradient(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                     Vec<const std::int32_t> target_T, Vec<const float> lse_T, Scale scale,
                     Mat<float> dw_WD_acc) {
  for_gradients<A>(
      ctx, "layers::head_loss::backward_weight::logits", "layers::head_loss::backward_weight", x_TD,
      w_WD, target_T, lse_T, scale, [&](Index first, Index rows, Mat<A> dl_RW) {
        numerics::linear_backward_weight<A>(ctx, "layers::head_loss::backward_weight::weight",
                                            dl_RW, rows_of(x_TD, first, rows), dw_WD_acc);
      });
}

} // namespace

template <class A>
void forward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD, Vec<const std::int32_t> target_T,
             Vec<float> lse_T, Vec<float> loss_T, Vec<float> entropy_T) {
  for_chunks<A>(ctx, "layers::head_loss::forward::logits", x_TD, w_WD,
                [&](Index first, Index rows, Mat<float> l_RW) {
                  const auto target = part_of(target_T, first, rows);
                  const auto lse = part_of(lse_T, first, rows);
                  losses(ctx, l_RW, target, lse, part_of(loss_T, first, rows));
                  if (entropy_T.size() > 0)
                    entropies(ctx, l_RW, target, lse, part_of(entropy_T, first, rows));
                });
}

template <class A>
void backward_input(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                    Vec<const std::int32_t> target_T, Vec<const float> lse_T, float scale,
                    Mat<A> dx_TD) {
  input_gradient<A>(ctx, x_TD, w_WD, target_T, lse_T, Same{scale}, dx_TD);
}
template <class A>
void backward_input(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                    Vec<const std::int32_t> target_T, Vec<const float> lse_T,
                    Vec<const float> scale_T, Mat<A> dx_TD) {
  input_gradient<A>(ctx, x_TD, w_WD, target_T, lse_T, Each{scale_T}, dx_TD);
}

template <class A>
void backward_weight(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                     Vec<const std::int32_t> target_T, Vec<const float> lse_T, float scale,
                     Mat<float> dw_WD_acc) {
  weight_gradient<A>(ctx, x_TD, w_WD, target_T, lse_T, Same{scale}, dw_WD_acc);
}
template <class A>
void backward_weight(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                     Vec<const std::int32_t> target_T, Vec<const float> lse_T,
                     Vec<const float> scale_T, Mat<float> dw_WD_acc) {
  weight_gradient<A>(ctx, x_TD, w_WD, target_T, lse_T, Each{scale_T}, dw_WD_acc);
}

template <class A>
void backward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD, Vec<const std::int32_t> target_T,
              Vec<const float> lse_T, Vec<const float> scale_T, Mat<A> dx_TD,
              Mat<float> dw_WD_acc) {
  for_gradients<A>(
      ctx, "layers::head_loss::backward::logits", "layers::head_loss::backward", x_TD, w_WD,
      target_T, lse_T, Each{scale_T}, [&](Index first, Index rows, Mat<A> dl_RW) {
        numerics::linear_backward_input<A>(ctx, "layers::head_loss::backward::input", dl_RW, w_WD,
                                           rows_of(dx_TD, first, rows));
        numerics::linear_backward_weight<A>(ctx, "layers::head_loss::backward::weight", dl_RW,
                                            rows_of(x_TD, first, rows), dw_WD_acc);
      });
}

template <class A>
void forward_backward(Context &ctx, Mat<const A> x_TD, Mat<const A> w_WD,
                      Vec<const std::int32_t> target_T, float scale, Vec<float> lse_T,
                      Vec<float> loss_T, Mat<A> dx_TD, Mat<float> dw_WD_acc) {
  for_chunks<A>(
      ctx, "layers::head_loss::forward_backward::logits", x_TD, w_WD,
      [&](Index first, Index rows, Mat<float> l_RW) {
        const auto dl_RW = place_of_dl<A>(ctx, l_RW);
        losses_and_gradients<A>(ctx, l_RW, part_of(target_T, first, rows), scale,
                                part_of(lse_T, first, rows), part_of(loss_T, first, rows), dl_RW);
        numerics::linear_backward_input<A>(ctx, "layers::head_loss::forward_backward::input", dl_RW,
                                           w_WD, rows_of(dx_TD, first, rows));
        numerics::linear_backward_weight<A>(ctx, "layers::head_loss::forward_backward::weight",
                                            dl_RW, rows_of(x_TD, first, rows), dw_WD_acc);
      });
}

void log_sum_exp(Context &ctx, Mat<const float> l_RW, Vec<float> lse_R) {
  const char *label = "layers::head_loss::log_sum_exp";
  const Index W = l_RW.extent(1);
  tensor::for_rows(
      ctx, label, l_RW.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
        const float lse = log_sum_exp(row, &l_RW(r, 0), W);
        tensor::row_once(row, [&] { lse_R(r) = lse; });
      });
  ctx.count(label, 20.0 * l_RW.size(), 4.0 * l_RW.size());
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void forward(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,            \
                        Vec<float>, Vec<float>, Vec<float>);                                       \
  template void backward_input(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,     \
                               Vec<const float>, float, Mat<A>);                                   \
  template void backward_input(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,     \
                               Vec<const float>, Vec<const float>, Mat<A>);                        \
  template void backward_weight(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,    \
                                Vec<const float>, float, Mat<float>);                              \
  template void backward_weight(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,    \
                                Vec<const float>, Vec<const float>, Mat<float>);                   \
  template void backward(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,           \
                         Vec<const float>, Vec<const float>, Mat<A>, Mat<float>);                  \
  template void forward_backward(Context &, Mat<const A>, Mat<const A>, Vec<const std::int32_t>,   \
                                 float, Vec<float>, Vec<float>, Mat<A>, Mat<float>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::head_loss

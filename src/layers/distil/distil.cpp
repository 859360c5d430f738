// SPDX-License-Identifier: Apache-2.0
#include "layers/distil/distil.hpp"

#include "layers/head_loss/head_loss.hpp"
#include "numerics/exp.hpp"

namespace layers::distil {

namespace {

template <class T> Mat<T> rows_of(const Mat<T> &m, Index first, Index rows) {
  return Mat<T>(m.data() + first * m.extent(1), rows, m.extent(1));
}
template <class T> Vec<T> part_of(const Vec<T> &v, Index first, Index rows) {
  return Vec<T>(v.data() + first, rows);
}

// What one chunk is made of.
struct Chunk {
  float weight, tau, scale;
  Mat<float> l_RW;
  Mat<float> told_RK; // logits of the ids, while their places in l hold -inf
  Vec<const std::int32_t> target_R;
  Mat<const std::int32_t> id_RK;
  Mat<const float> logp_RK;
  Vec<float> lse_R, ce_R, kl_R;
};

// Of one row: log-sum-exp at tau of all, and of all but the ids; the teacher's rest.
struct Row {
  float lse, lse_tau, lse_rest, rest;
};

// log sum exp (l tau^-1) over the row; -inf where every logit is.
KOKKOS_INLINE_FUNCTION float log_sum_exp(const tensor::Row &row, const float *l, Index W,
                                         float by) {
  const float top = tensor::row_max(row, W, [&](const Index w) { return l[w]; });
  if (top == -HUGE_VALF) return top;
  const float sum =
      tensor::row_sum(row, W, [&](const Index w) { return numerics::fast_exp((l[w] - top) * by); });
  return top * by + logf(sum);
}

KOKKOS_INLINE_FUNCTION bool known(std::int32_t id, Index W) { return id >= 0 && id < W; }

// (1), (2), (3); leaves l as it was.
KOKKOS_INLINE_FUNCTION Row measure(const tensor::Row &row, const Chunk &c, Index r) {
  const Index W = static_cast<Index>(c.l_RW.extent(1)), K = static_cast<Index>(c.id_RK.extent(1));
  float *l = &c.l_RW(r, 0);
  const float by = 1.0f / c.tau;
  Row m{};
  m.lse = log_sum_exp(row, l, W, 1.0f);
  m.lse_tau = by == 1.0f ? m.lse : log_sum_exp(row, l, W, by);
  const std::int32_t target = c.target_R(r);
  const float ce = target < 0 ? 0.0f : m.lse - l[target];
  tensor::row_barrier(row);
  tensor::row_for(row, K, [&](const Index k) {
    if (!known(c.id_RK(r, k), W)) return;
    c.told_RK(r, k) = l[c.id_RK(r, k)];
    l[c.id_RK(r, k)] = -HUGE_VALF;
  });
  m.lse_rest = log_sum_exp(row, l, W, by);
  tensor::row_barrier(row);
  tensor::row_for(row, K, [&](const Index k) {
    if (known(c.id_RK(r, k), W)) l[c.id_RK(r, k)] = c.told_RK(r, k);
  });
  float told = 0, kl = 0; // in the order of the ids, by every thread of the row
  for (Index k = 0; k < K; ++k) {
    if (!known(c.id_RK(r, k), W)) continue;
    const float p = numerics::fast_exp(c.logp_RK(r, k));
    told += p;
    if (p > 0) kl += p * (c.logp_RK(r, k) - (c.told_RK(r, k) * by - m.lse_tau));
  }
  m.rest = 1.0f - told;
  if (!(m.rest > 0) || m.lse_rest == -HUGE_VALF) m.rest = 0;
  if (m.rest > 0) kl += m.rest * (logf(m.rest) - (m.lse_rest - m.lse_tau));
  tensor::row_once(row,
                   [&] { c.lse_R(r) = m.lse, c.ce_R(r) = ce, c.kl_R(r) = target < 0 ? 0.0f : kl; });
  return m;
}

// dl over or beside l. The ids' places are made anew behind the others.
template <class A>
KOKKOS_INLINE_FUNCTION void gradient(const tensor::Row &row, const Chunk &c, Index r, const Row &m,
                                     A *dl) {
  const Index W = static_cast<Index>(c.l_RW.extent(1)), K = static_cast<Index>(c.id_RK.extent(1));
  const std::int32_t target = c.target_R(r);
  if (target < 0) {
    tensor::row_for(row, W, [&](const Index w) { dl[w] = A(0.0f); });
    return;
  }
  const float *l = &c.l_RW(r, 0);
  const float by = 1.0f / c.tau, of_kl = c.scale * c.weight * c.tau,
              of_ce = c.scale * (1.0f - c.weight);
  const auto hard = [&](const float logit, const Index w) {
    const float one = static_cast<std::int32_t>(w) == target ? 1.0f : 0.0f;
    return of_ce * (numerics::fast_exp(logit - m.lse) - one);
  };
  tensor::row_barrier(row);
  tensor::row_for(row, W, [&](const Index w) {
    const float logit = l[w], z = logit * by;
    const float q = numerics::fast_exp(z - m.lse_tau);
    const float held = m.rest > 0 ? m.rest * numerics::fast_exp(z - m.lse_rest) : 0.0f;
    dl[w] = A(of_kl * (q - held) + hard(logit, w));
  });
  tensor::row_for(row, K, [&](const Index k) {
    if (!known(c.id_RK(r, k), W)) return;
    const Index w = c.id_RK(r, k);
    const float logit = c.told_RK(r, k);
    const float q = numerics::fast_exp(logit * by - m.lse_tau),
                p = numerics::fast_exp(c.logp_RK(r, k));
    dl[w] = A(of_kl * (q - p) + hard(logit, w));
  });
}

// f(first row, rows, chunk) for each chunk; the logits are made under the label.
template <class A, class F>
void for_chunks(Context &ctx, const char *label, const Options &o, float scale, Mat<const A> x_TD,
                Mat<const A> w_WD, Vec<const std::int32_t> target_T, const Teacher &teacher,
                Vec<float> lse_T, Vec<float> ce_T, Vec<float> kl_T, const F &f) {
  const Index T = x_TD.extent(0), W = w_WD.extent(0), K = teacher.id_TK.extent(1);
  for (Index first = 0; first < T; first += head_loss::kChunkRows) {
    tensor::Arena::Scope scope(ctx.arena);
    const Index rows = T - first < head_loss::kChunkRows ? T - first : head_loss::kChunkRows;
    const Chunk c{static_cast<float>(o.weight),
                  static_cast<float>(o.temperature),
                  scale,
                  ctx.arena.mat<float>(rows, W),
                  ctx.arena.mat<float>(rows, K),
                  part_of(target_T, first, rows),
                  rows_of(teacher.id_TK, first, rows),
                  rows_of(teacher.logp_TK, first, rows),
                  part_of(lse_T, first, rows),
                  part_of(ce_T, first, rows),
                  part_of(kl_T, first, rows)};
    numerics::linear<A, float>(ctx, label, rows_of(x_TD, first, rows), w_WD, c.l_RW);
    f(first, rows, c);
  }
}

} // namespace

template <class A>
void forward(Context &ctx, const Options &options, Mat<const A> x_TD, Mat<const A> w_WD,
             Vec<const std::int32_t> target_T, const Teacher &teacher, Vec<float> lse_T,
             Vec<float> ce_T, Vec<float> kl_T) {
  const char *label = "layers::distil::forward";
  for_chunks<A>(ctx, "layers::distil::forward::logits", options, 0, x_TD, w_WD, target_T, teacher,
                lse_T, ce_T, kl_T, [&](Index, Index rows, const Chunk &c) {
                  tensor::for_rows(
                      ctx, label, rows,
                      KOKKOS_LAMBDA(const tensor::Row &row, const Index r) { measure(row, c, r); });
                  ctx.count(label, 60.0 * c.l_RW.size(), 4.0 * c.l_RW.size());
                });
}

template <class A>
void forward_backward(Context &ctx, const Options &options, Mat<const A> x_TD, Mat<const A> w_WD,
                      Vec<const std::int32_t> target_T, const Teacher &teacher, float scale,
                      Vec<float> lse_T, Vec<float> ce_T, Vec<float> kl_T, Mat<A> dx_TD,
                      Mat<float> dw_WD_acc) {
  const char *label = "layers::distil::forward_backward";
  for_chunks<A>(ctx, "layers::distil::forward_backward::logits", options, scale, x_TD, w_WD,
                target_T, teacher, lse_T, ce_T, kl_T, [&](Index first, Index rows, const Chunk &c) {
                  Mat<A> dl_RW;
                  if constexpr (std::is_same_v<A, float>)
                    dl_RW = c.l_RW;
                  else
                    dl_RW = ctx.arena.mat<A>(rows, c.l_RW.extent(1));
                  tensor::for_rows(
                      ctx, label, rows, KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
                        const Row m = measure(row, c, r);
                        gradient(row, c, r, m, &dl_RW(r, 0));
                      });
                  ctx.count(label, 120.0 * c.l_RW.size(), (4.0 + sizeof(A)) * c.l_RW.size());
                  numerics::linear_backward_input<A>(ctx, "layers::distil::forward_backward::input",
                                                     dl_RW, w_WD, rows_of(dx_TD, first, rows));
                  numerics::linear_backward_weight<A>(ctx,
                                                      "layers::distil::forward_backward::weight",
                                                      dl_RW, rows_of(x_TD, first, rows), dw_WD_acc);
                });
}

template <class A>
void most_likely(Context &ctx, float temperature, Mat<const A> x_TD, Mat<const A> w_WD,
                 Mat<std::int32_t> id_TK, Mat<float> logp_TK) {
  const char *label = "layers::distil::most_likely";
  const Index T = x_TD.extent(0), W = w_WD.extent(0), K = id_TK.extent(1);
  const float by = 1.0f / temperature;
  for (Index first = 0; first < T; first += head_loss::kChunkRows) {
    tensor::Arena::Scope scope(ctx.arena);
    const Index rows = T - first < head_loss::kChunkRows ? T - first : head_loss::kChunkRows;
    const Mat<float> l_RW = ctx.arena.mat<float>(rows, W);
    const Mat<std::int32_t> id_RK = rows_of(id_TK, first, rows);
    const Mat<float> logp_RK = rows_of(logp_TK, first, rows);
    numerics::linear<A, float>(ctx, "layers::distil::most_likely::logits",
                               rows_of(x_TD, first, rows), w_WD, l_RW);
    tensor::for_rows(
        ctx, label, rows, KOKKOS_LAMBDA(const tensor::Row &row, const Index r) {
          float *l = &l_RW(r, 0);
          const float lse = log_sum_exp(row, l, W, by);
          for (Index k = 0; k < K; ++k) {
            tensor::row_barrier(row);
            const float top = tensor::row_max(row, W, [&](const Index w) { return l[w]; });
            // ids are exact in FP32 up to 2^24
            const float least = -tensor::row_max(row, W, [&](const Index w) {
              return l[w] == top ? -static_cast<float>(w) : -HUGE_VALF;
            });
            const bool found = top > -HUGE_VALF && least < static_cast<float>(W);
            tensor::row_barrier(row);
            tensor::row_once(row, [&] {
              const Index w = found ? static_cast<Index>(least) : Index{0};
              id_RK(r, k) = found ? static_cast<std::int32_t>(w) : -1;
              logp_RK(r, k) = found ? top * by - lse : -HUGE_VALF;
              if (found) l[w] = -HUGE_VALF;
            });
          }
        });
    ctx.count(label, (20.0 + 2.0 * static_cast<double>(K)) * l_RW.size(), 4.0 * l_RW.size());
  }
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template void most_likely(Context &, float, Mat<const A>, Mat<const A>, Mat<std::int32_t>,       \
                            Mat<float>);                                                           \
  template void forward(Context &, const Options &, Mat<const A>, Mat<const A>,                    \
                        Vec<const std::int32_t>, const Teacher &, Vec<float>, Vec<float>,          \
                        Vec<float>);                                                               \
  template void forward_backward(Context &, const Options &, Mat<const A>, Mat<const A>,           \
                                 Vec<const std::int32_t>, const Teacher &, float, Vec<float>,      \
                                 Vec<float>, Vec<float>, Mat<A>, Mat<float>);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::distil

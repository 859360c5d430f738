// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/sums.hpp"

namespace layers::dispatch {
namespace {

constexpr int kWidth = 32; // elements of a row added at a time

// f(first element, number of elements) over a row; kWidth of them as a constant, so that the loops become vector registers.
template <class F>
KOKKOS_INLINE_FUNCTION void in_pieces(const tensor::Row &row, Index D, const F &f) {
  const Index pieces = D / kWidth;
  tensor::row_for(row, pieces, [&](const Index p) { f(p * kWidth, kWidth); });
  tensor::row_for(row, pieces * kWidth < D,
                  [&](const Index) { f(pieces * kWidth, static_cast<int>(D % kWidth)); });
}

template <class C, class A>
KOKKOS_INLINE_FUNCTION void sum_piece(const std::int32_t *place, const std::int32_t *unit, int K,
                                      const A *y, C *to, Index D, Index d, int n) {
  float group[kWidth];
  for (int k = 0; k < K;) {
    const std::int32_t u = unit[k];
    if (place[k] < 0) {
      ++k;
      continue;
    }
    for (int i = 0; i < n; ++i) group[i] = 0;
    for (; k < K && place[k] >= 0 && unit[k] == u; ++k) {
      const A *from = y + place[k] * D + d;
      for (int i = 0; i < n; ++i) group[i] += static_cast<float>(from[i]);
    }
    C *const out = to + u * D + d;
    for (int i = 0; i < n; ++i) out[i] = C(group[i]);
  }
}

template <class C, class A>
KOKKOS_INLINE_FUNCTION void add_piece(const std::int32_t *unit, int K, const C *from, const A *base,
                                      A *y, Index D, Index d, int n) {
  float total[kWidth];
  for (int i = 0; i < n; ++i) total[i] = 0;
  for (int k = 0; k < K; ++k) {
    if (k > 0 && unit[k] == unit[k - 1]) continue;
    const C *of_unit = from + unit[k] * D + d;
    for (int i = 0; i < n; ++i) total[i] += static_cast<float>(of_unit[i]);
  }
  if (base)
    for (int i = 0; i < n; ++i) total[i] += static_cast<float>(base[d + i]);
  for (int i = 0; i < n; ++i) y[d + i] = A(total[i]);
}

} // namespace

template <class C, class A>
void sum_units(Context &ctx, const char *label, Mat<const std::int32_t> place_TK,
               Mat<const std::int32_t> unit_TK, Mat<const A> y_XD, Mat<C> unit_UD) {
  const Index D = unit_UD.extent(1);
  const int K = static_cast<int>(place_TK.extent(1));
  tensor::for_rows(
      ctx, label, place_TK.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        in_pieces(row, D, [&](const Index d, const int n) {
          sum_piece(&place_TK(t, 0), &unit_TK(t, 0), K, y_XD.data(), unit_UD.data(), D, d, n);
        });
      });
  ctx.count(label, static_cast<double>(y_XD.size()),
            static_cast<double>(sizeof(A) * y_XD.size() + sizeof(C) * unit_UD.size()));
}

template <class C, class A>
void add_units(Context &ctx, const char *label, Mat<const std::int32_t> unit_TK,
               Mat<const C> unit_UD, Mat<const A> base_TD, Mat<A> y_TD) {
  const Index D = y_TD.extent(1);
  const int K = static_cast<int>(unit_TK.extent(1));
  tensor::for_rows(
      ctx, label, y_TD.extent(0), KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const A *base = base_TD.data() ? &base_TD(t, 0) : nullptr;
        A *y = &y_TD(t, 0);
        in_pieces(row, D, [&](const Index d, const int n) {
          add_piece(&unit_TK(t, 0), K, unit_UD.data(), base, y, D, d, n);
        });
      });
  ctx.count(label, static_cast<double>(unit_UD.size()),
            static_cast<double>(sizeof(C) * unit_UD.size() + 2 * sizeof(A) * y_TD.size()));
}

#define HADAL_INSTANTIATE(C, A)                                                                    \
  template void sum_units(Context &, const char *, Mat<const std::int32_t>,                        \
                          Mat<const std::int32_t>, Mat<const A>, Mat<C>);                          \
  template void add_units(Context &, const char *, Mat<const std::int32_t>, Mat<const C>,          \
                          Mat<const A>, Mat<A>);
HADAL_INSTANTIATE(float, float)
HADAL_INSTANTIATE(bf16, float)
HADAL_INSTANTIATE(float, bf16)
HADAL_INSTANTIATE(bf16, bf16)
#undef HADAL_INSTANTIATE

} // namespace layers::dispatch

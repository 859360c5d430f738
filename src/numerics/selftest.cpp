// SPDX-License-Identifier: Apache-2.0
#include "numerics/selftest.hpp"

#include <array>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/random.hpp"
#include "numerics/gemm.hpp"
#include "tensor/launch.hpp"

namespace numerics {
namespace {

constexpr const char *kLabel = "numerics::selftest";
constexpr const char *kFillLabel = "numerics::selftest::fill";

template <class T> constexpr const char *kName = std::is_same_v<T, bf16> ? "bf16" : "f32";

template <class A> Mat<A> matrix(Index rows, Index columns) {
  return Mat<A>(std::string(kLabel), rows, columns);
}

// Between -1 and 1, of 1021 values: their products and sums are rounded.
template <class A> Mat<A> filled(Context &ctx, Index rows, Index columns, Index shift) {
  const Mat<A> m = matrix<A>(rows, columns);
  A *data = m.data();
  tensor::for_each(
      ctx, kFillLabel, rows * columns, KOKKOS_LAMBDA(const Index i) {
        data[i] = A(static_cast<float>((i + shift) * 2654435761U % 1021U) / 510.5F - 1.0F);
      });
  return m;
}

template <class T> std::vector<T> on_host(Context &ctx, const Mat<T> &m) {
  tensor::fence(ctx, "numerics::selftest: the host reads the result");
  const auto mirror = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace(), m);
  return std::vector<T>(mirror.data(), mirror.data() + mirror.size());
}

template <class T> Mat<T> rows_of(const Mat<T> &m, Index from, Index count) {
  return Mat<T>(m.data() + from * static_cast<Index>(m.extent(1)), count, m.extent(1));
}

struct Some {
  Index from, count;
};
constexpr std::array kSome = {Some{0, 1},   Some{17, 1},  Some{150, 1},
                              Some{299, 1}, Some{37, 63}, Some{128, 130}};
constexpr Index kRows = 300;

template <class A> void compare_rows(Context &ctx, Index n, Index k, RowsReport &report) {
  const Mat<A> x = filled<A>(ctx, kRows, k, 1), w = filled<A>(ctx, n, k, 2),
               turned = filled<A>(ctx, k, n, 3);
  const Mat<A> y = matrix<A>(kRows, n), part = matrix<A>(kRows, n);
  for (const bool backward : {false, true}) {
    const auto product = [&](const Mat<A> &rows, const Mat<A> &to) {
      if (backward)
        linear_backward_input<A>(ctx, kLabel, rows, turned, to);
      else
        linear<A, A>(ctx, kLabel, rows, w, to);
    };
    product(x, y);
    const std::vector<A> whole = on_host(ctx, y);
    for (const Some &s : kSome) {
      product(rows_of(x, s.from, s.count), rows_of(part, 0, s.count));
      const std::vector<A> alone = on_host(ctx, part);
      const bool same = std::memcmp(alone.data(), whole.data() + s.from * n,
                                    static_cast<std::size_t>(s.count * n) * sizeof(A)) == 0;
      ++report.compared;
      if (!same && report.differing++ == 0)
        report.first = fmt::format(
            "{} {}, rows {} to {} of {}, {} x {}, body {}", kName<A>,
            backward ? "linear_backward_input" : "linear", s.from, s.from + s.count - 1, kRows, n,
            k, body_name(std::is_same_v<A, bf16>, backward ? 'i' : 'n', s.count, n, k));
    }
  }
}

template <class T> void add(std::string &hashes, const std::vector<T> &values) {
  hashes += base::hash128(values.data(), values.size() * sizeof(T)).hex();
}

template <class A> void add_products(Context &ctx, std::string &hashes) {
  constexpr Index T = 257, O = 96, I = 160;
  const Mat<A> x = filled<A>(ctx, T, I, 4), w = filled<A>(ctx, O, I, 5),
               dy = filled<A>(ctx, T, O, 6);
  const Mat<A> y = matrix<A>(T, O), dx = matrix<A>(T, I);
  const Mat<float> dw = matrix<float>(O, I);
  linear<A, A>(ctx, kLabel, x, w, y);
  linear_backward_input<A>(ctx, kLabel, dy, w, dx);
  linear_backward_weight<A>(ctx, kLabel, dy, x, dw);
  add(hashes, on_host(ctx, y));
  add(hashes, on_host(ctx, dx));
  add(hashes, on_host(ctx, dw));
}

} // namespace

RowsReport check_rows(Context &ctx) {
  RowsReport report;
  for (const auto &[n, k] : {std::array<Index, 2>{352, 512}, {64, 33}, {512, 1408}}) {
    compare_rows<float>(ctx, n, k, report);
    compare_rows<bf16>(ctx, n, k, report);
  }
  return report;
}

base::Hash128 hash_of_fixed_work(Context &ctx) {
  std::string hashes;
  add_products<float>(ctx, hashes);
  add_products<bf16>(ctx, hashes);
  std::vector<double> normals(4096);
  for (std::size_t i = 0; i < normals.size(); ++i)
    normals[i] = base::random::normal(1, base::random::Purpose::test, 0, i);
  add(hashes, normals);
  return base::hash128(hashes);
}

} // namespace numerics

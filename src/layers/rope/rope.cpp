// SPDX-License-Identifier: Apache-2.0
#include "layers/rope/rope.hpp"

#include <algorithm>
#include <cmath>

namespace layers::rope {

namespace {

// YaRN's m(x) = 0.1 x ln s + 1 (arXiv 2309.00071, eq. 22 in DeepSeek's form).
double magnitude(const arch::Yarn &yarn, const double mscale) {
  return yarn.on() ? 0.1 * mscale * std::log(yarn.factor) + 1.0 : 1.0;
}

// The (real) index of the pair that turns `rotations` times within the original context.
double correction_dim(const arch::Dims &dims, const double rotations) {
  const double circle = 2.0 * M_PI * rotations;
  return static_cast<double>(dims.rope) *
         std::log(static_cast<double>(dims.yarn.original) / circle) /
         (2.0 * std::log(dims.rope_theta));
}

} // namespace

std::vector<double> frequencies(const arch::Dims &dims) {
  const Index pairs = dims.rope / 2;
  std::vector<double> f(pairs);
  for (Index i = 0; i < pairs; ++i)
    f[i] =
        std::pow(dims.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dims.rope));
  if (!dims.yarn.on()) return f;
  const double low = std::max(std::floor(correction_dim(dims, dims.yarn.beta_fast)), 0.0);
  double high = std::min(std::ceil(correction_dim(dims, dims.yarn.beta_slow)),
                         static_cast<double>(dims.rope - 1));
  if (low == high) high += 0.001; // as the reference: no division by zero
  for (Index i = 0; i < pairs; ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    f[i] = f[i] / dims.yarn.factor * ramp + f[i] * (1.0 - ramp);
  }
  return f;
}

Table make_table(const arch::Dims &dims, const Index positions) {
  const std::vector<double> f = frequencies(dims);
  const Index pairs = static_cast<Index>(f.size());
  const double scale =
      magnitude(dims.yarn, dims.yarn.mscale) / magnitude(dims.yarn, dims.yarn.mscale_all_dim);
  const Table table{
      Mat<float>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "layers::rope::cos_PF"), positions,
                 pairs),
      Mat<float>(Kokkos::view_alloc(Kokkos::WithoutInitializing, "layers::rope::sin_PF"), positions,
                 pairs)};
  const auto cosine = Kokkos::create_mirror_view(table.cos_PF),
             sine = Kokkos::create_mirror_view(table.sin_PF);
  for (Index p = 0; p < positions; ++p) {
    for (Index i = 0; i < pairs; ++i) {
      cosine(p, i) = static_cast<float>(scale * std::cos(static_cast<double>(p) * f[i]));
      sine(p, i) = static_cast<float>(scale * std::sin(static_cast<double>(p) * f[i]));
    }
  }
  Kokkos::deep_copy(table.cos_PF, cosine);
  Kokkos::deep_copy(table.sin_PF, sine);
  return table;
}

template <class A>
void rotate(Context &ctx, const char *label, const Table &table,
            const Vec<const std::int32_t> position_T, const Cube<A> x_THX, const Index offset,
            const int sign) {
  const Index tokens = x_THX.extent(0), heads = x_THX.extent(1), width = x_THX.extent(2),
              pairs = table.cos_PF.extent(1);
  HADAL_CHECK(offset >= 0 && offset + 2 * pairs <= width, "rope part {} + {} of {} columns", offset,
              2 * pairs, width);
  HADAL_CHECK(sign == 1 || sign == -1, "sign {}", sign);
  const Mat<float> cos_PF = table.cos_PF, sin_PF = table.sin_PF;
  const float direction = static_cast<float>(sign);
  const double moved = static_cast<double>(tokens) * static_cast<double>(heads * pairs);
  ctx.count(label, 6 * moved, 4 * sizeof(A) * moved);
  tensor::for_rows(
      ctx, label, tokens, KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const float *c = &cos_PF(position_T(t), 0), *s = &sin_PF(position_T(t), 0);
        for (Index h = 0; h < heads; ++h) {
          A *x = &x_THX(t, h, offset);
          tensor::row_for(row, pairs, [=](const Index i) { // (1)
            const float even = static_cast<float>(x[2 * i]), odd = static_cast<float>(x[2 * i + 1]),
                        sine = direction * s[i];
            x[2 * i] = A(fmaf(even, c[i], -(odd * sine)));
            x[2 * i + 1] = A(fmaf(even, sine, odd * c[i]));
          });
        }
      });
}

template void rotate(Context &, const char *, const Table &, Vec<const std::int32_t>, Cube<float>,
                     Index, int);
template void rotate(Context &, const char *, const Table &, Vec<const std::int32_t>, Cube<bf16>,
                     Index, int);

} // namespace layers::rope

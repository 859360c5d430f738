// SPDX-License-Identifier: Apache-2.0
// Tiles by Kokkos Kernels: the portable body, and the reference of the tests.
#include <KokkosBlas3_gemm.hpp>

#include "numerics/tile.hpp"

namespace numerics::kokkos_kernels {

void compute(const Tile &tile) {
  const TileShape &s = tile.shape;
  const bool a_turned = s.form == Form::backward_weight, b_turned = s.form == Form::linear;
  const tensor::Mat<const float> a(static_cast<const float *>(tile.a), a_turned ? s.k : s.m,
                                   a_turned ? s.m : s.k);
  const tensor::Mat<const float> b(static_cast<const float *>(tile.b), b_turned ? s.n : s.k,
                                   b_turned ? s.k : s.n);
  const tensor::Mat<float> c(static_cast<float *>(tile.c), s.m, s.n);
  KokkosBlas::gemm(a_turned ? "T" : "N", b_turned ? "T" : "N", 1.0F, a, b,
                   s.accumulate ? 1.0F : 0.0F, c);
}

} // namespace numerics::kokkos_kernels

// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/numerics/products.hpp"

extern "C" int openblas_get_parallel(void);

// 0 sequential, 1 its own threads (which would fight those of Kokkos), 2 OpenMP.
TEST(Libraries, OpenBlasUsesOpenMp) { EXPECT_EQ(openblas_get_parallel(), 2); }

TEST(Libraries, BodiesAreNamed) {
  for (const char form : {'n', 'i', 'w'})
    for (const bool is_bf16 : {false, true})
      EXPECT_NE(numerics::body_name(is_bf16, form, 64, 512, 512), "");
}

TEST(Libraries, RatesArePositive) {
  products::Bench b;
  EXPECT_GT(numerics::measure_gemm_peak(b.ctx, false, 256), 1e8);
  EXPECT_GT(numerics::measure_gemm_peak(b.ctx, true, 256), 1e7);
  EXPECT_GT(numerics::measure_copy_rate(b.ctx), 1e8);
}

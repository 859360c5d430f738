// SPDX-License-Identifier: Apache-2.0
// The self-test's arithmetic: it passes with the bodies of the law and finds one that breaks it.
#include "numerics/selftest.hpp"

#include "tests/unit/numerics/products.hpp"

namespace {

struct Body {
  explicit Body(numerics::GemmBody body) : before(numerics::gemm_body()) {
    numerics::set_gemm_body(body);
  }
  ~Body() { numerics::set_gemm_body(before); }
  numerics::GemmBody before;
};

TEST(Selftest, RowsKeepTheirBits) {
  products::Bench b;
  const auto report = numerics::check_rows(b.ctx);
  EXPECT_EQ(report.compared, 72);
  EXPECT_EQ(report.differing, 0) << report.first;
}

// Kokkos Kernels over OpenBLAS: fast in another way for one row and for many.
TEST(Selftest, ABodyWithoutTheLawIsFound) {
  products::Bench b;
  const Body body(numerics::GemmBody::kokkos);
  const auto report = numerics::check_rows(b.ctx);
  EXPECT_GT(report.differing, 0);
  EXPECT_NE(report.first.find("rows "), std::string::npos) << report.first;
}

TEST(Selftest, FixedWorkHasOneHash) {
  products::Bench b;
  const auto hash = numerics::hash_of_fixed_work(b.ctx);
  EXPECT_EQ(hash, numerics::hash_of_fixed_work(b.ctx));
  const Body body(numerics::GemmBody::kokkos); // sums in another order
  EXPECT_FALSE(hash == numerics::hash_of_fixed_work(b.ctx));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "layers/rope/rope.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace rope = layers::rope;

arch::Dims yarn_dims() { // DeepSeek-V3's long-context setting
  arch::Dims dims;
  dims.yarn.factor = 40;
  return dims;
}

// Angles by the definition, in double.
template <class S>
std::vector<S> reference(std::vector<S> x, const std::vector<double> &f,
                         const std::vector<int> &position, Index heads, Index width, Index offset) {
  for (std::size_t t = 0; t < position.size(); ++t) {
    for (Index h = 0; h < heads; ++h) {
      S *p = &x[(t * heads + h) * width + offset];
      for (std::size_t i = 0; i < f.size(); ++i) {
        const double c = std::cos(position[t] * f[i]), s = std::sin(position[t] * f[i]);
        const S even = p[2 * i], odd = p[2 * i + 1];
        p[2 * i] = even * c - odd * s, p[2 * i + 1] = even * s + odd * c;
      }
    }
  }
  return x;
}

struct Case {
  Index tokens = 11, heads = 3, width = 24, offset = 14;
  arch::Dims dims;
  std::vector<int> position;
  tensor::Arena arena{"test", 1 << 20};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Vec<std::int32_t> position_T{"position", 11};
  rope::Table table;
  Case() {
    dims.rope = 10;
    for (int t = 0; t < 11; ++t)
      position.push_back(t < 6 ? t : t - 6), position_T(t) = position.back();
    table = rope::make_table(dims, 16);
  }
  template <class A> Values rotated(const Values &x, int sign) {
    const tensor::Cube<A> y = support::cube<A>(x, tokens, heads, width);
    rope::rotate<A>(ctx, "test::rotate", table, position_T, y, offset, sign);
    ctx.exec.fence();
    return support::download(y);
  }
};

TEST(Rope, ForwardEqualsReferenceAndLeavesTheRestAlone) {
  Case c;
  const Values x = support::normal(c.tokens * c.heads * c.width, 1);
  const Values y = c.rotated<float>(x, 1),
               expected =
                   reference(x, rope::frequencies(c.dims), c.position, c.heads, c.width, c.offset);
  EXPECT_LT(support::relative_error(y, expected), support::float_bound(2));
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (static_cast<Index>(i) % c.width < c.offset) {
      EXPECT_EQ(x[i], y[i]);
    }
  }
}

TEST(Rope, ReverseEqualsComplexStep) {
  Case c;
  const Values x = support::normal(c.tokens * c.heads * c.width, 1),
               dy = support::normal(x.size(), 2);
  const auto loss = [&](const std::vector<Complex> &z) {
    return support::weighted(
        dy, reference(z, rope::frequencies(c.dims), c.position, c.heads, c.width, c.offset));
  };
  EXPECT_LT(support::relative_error(c.rotated<float>(dy, -1), support::gradient(loss, x)),
            support::float_bound(2));
}

TEST(Rope, DotProductIsKept) {
  Case c;
  const Values x = support::normal(c.tokens * c.heads * c.width, 1),
               dy = support::normal(x.size(), 2);
  const double lhs = support::dot(dy, c.rotated<float>(x, 1)),
               rhs = support::dot(c.rotated<float>(dy, -1), x);
  EXPECT_NEAR(lhs, rhs, 1e-4);
}

TEST(Rope, Bf16WithinBounds) {
  Case c;
  const Values x = support::normal<numerics::bf16>(c.tokens * c.heads * c.width, 1);
  EXPECT_LT(support::relative_error(c.rotated<numerics::bf16>(x, 1), c.rotated<float>(x, 1)),
            support::bound<numerics::bf16>(1, 2));
}

TEST(Rope, ScoresDependOnTheDistanceAlone) {
  Case c;
  Values x(c.tokens * c.heads * c.width, 0.0);
  const Values one = support::normal(c.width, 3), two = support::normal(c.width, 4);
  for (Index t = 0; t < c.tokens;
       ++t) { // head 0 holds a query, head 1 a key, the same in every row
    for (Index i = 0; i < c.width; ++i)
      x[t * c.heads * c.width + i] = one[i], x[(t * c.heads + 1) * c.width + i] = two[i];
  }
  const Values y = c.rotated<float>(x, 1);
  const auto score = [&](Index t, Index j) {
    double s = 0;
    for (Index i = c.offset; i < c.width; ++i)
      s += y[t * c.heads * c.width + i] * y[(j * c.heads + 1) * c.width + i];
    return s;
  };
  EXPECT_NEAR(score(3, 1), score(5, 3), 1e-5);
  EXPECT_GT(std::abs(score(3, 1) - score(3, 2)), 1e-3);
}

// facts: R 64, theta 1e4, original 4096: ramp from pair 10 to pair 23.
TEST(Rope, YarnFrequencies) {
  const arch::Dims dims = yarn_dims();
  arch::Dims plain = dims;
  plain.yarn.factor = 1;
  const std::vector<double> f = rope::frequencies(dims), p = rope::frequencies(plain);
  ASSERT_EQ(f.size(), 32U);
  for (int i = 0; i < 32; ++i) {
    EXPECT_DOUBLE_EQ(p[i], std::pow(10000.0, -i / 32.0));
    const double ramp = i <= 10 ? 0.0 : i >= 23 ? 1.0 : (i - 10) / 13.0;
    EXPECT_NEAR(f[i], p[i] * (ramp / 40 + 1 - ramp), 1e-15) << i;
  }
  const rope::Table table = rope::make_table(dims, 3);
  EXPECT_EQ(table.cos_PF(0, 0), 1.0F); // mscale = mscale_all_dim: no factor on cos and sin
  arch::Dims other = dims;
  other.yarn.mscale = 0.5;
  EXPECT_NEAR(rope::make_table(other, 1).cos_PF(0, 0),
              (0.05 * std::log(40.0) + 1) / (0.1 * std::log(40.0) + 1), 1e-6);
}

} // namespace

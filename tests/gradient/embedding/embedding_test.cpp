// SPDX-License-Identifier: Apache-2.0
#include "layers/embedding/embedding.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
namespace embedding = layers::embedding;

template <class S>
std::vector<S> reference(const std::vector<int> &token, const std::vector<S> &w, std::size_t D) {
  std::vector<S> x;
  for (const int t : token) x.insert(x.end(), w.begin() + t * D, w.begin() + (t + 1) * D);
  return x;
}

// Few different tokens, so that many fall together.
std::vector<int> tokens_of(std::size_t T, std::uint64_t W) {
  std::vector<int> token(T);
  for (std::size_t t = 0; t < T; ++t)
    token[t] = static_cast<int>(base::random::bits(1, base::random::Purpose::test, 0, t) % W);
  return token;
}

template <class A> struct Case {
  std::size_t T, D, W;
  std::vector<int> token;
  Values w, dx;
  tensor::Arena arena{"test", 1 << 22};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Vec<std::int32_t> token_T;
  tensor::Mat<A> x_TD;
  tensor::Mat<float> dw_WD;

  Case(std::size_t t, std::size_t d, std::size_t v, double old = 0)
      : T(t), D(d), W(v), token(tokens_of(t, v)) {
    w = support::normal<A>(W * D, 1), dx = support::normal<A>(T * D, 2);
    token_T = tensor::Vec<std::int32_t>("token", T);
    for (std::size_t i = 0; i < T; ++i) token_T(i) = token[i];
    x_TD = tensor::Mat<A>("x", T, D), dw_WD = support::mat<float>(Values(W * D, old), W, D);
    embedding::forward<A>(ctx, token_T, support::mat<A>(w, W, D), x_TD);
    embedding::backward_weight<A>(ctx, token_T, support::mat<A>(dx, T, D), dw_WD);
    ctx.exec.fence();
  }
};

TEST(Embedding, ForwardCopiesRows) {
  const Case<float> f(70, 33, 12);
  EXPECT_EQ(support::download(f.x_TD), reference(f.token, f.w, 33));
  const Case<numerics::bf16> b(70, 33, 12);
  EXPECT_EQ(support::download(b.x_TD), reference(b.token, b.w, 33));
}

TEST(Embedding, GradientEqualsComplexStep) {
  const Case<float> c(40, 5, 7);
  const auto loss = [&](const std::vector<Complex> &w) {
    return support::weighted(c.dx, reference(c.token, w, 5));
  };
  EXPECT_LT(support::relative_error(support::download(c.dw_WD), support::gradient(loss, c.w)),
            1e-6);
}

TEST(Embedding, DotProductOnLargerSizes) {
  const Case<float> c(500, 96, 130);
  const Values v = support::normal(c.w.size(), 5);
  const double lhs =
      support::weighted(c.dx, reference(c.token, support::shifted(c.w, v), 96)).imag() /
      support::kStep;
  EXPECT_NEAR(lhs, support::dot(support::download(c.dw_WD), v),
              1e-6 * support::norm(support::download(c.dw_WD)));
}

// Rows are added in token order to what stands there, to the bit.
template <class A> void sums_in_token_order() {
  const Case<A> c(300, 37, 11, 0.1);
  std::vector<float> sum(c.W * c.D, 0.1f);
  for (std::size_t t = 0; t < c.T; ++t)
    for (std::size_t d = 0; d < c.D; ++d)
      sum[c.token[t] * c.D + d] += static_cast<float>(c.dx[t * c.D + d]);
  EXPECT_EQ(support::download(c.dw_WD), Values(sum.begin(), sum.end()));
}
TEST(Embedding, SumsInTokenOrder) {
  sums_in_token_order<float>();
  sums_in_token_order<numerics::bf16>();
}

} // namespace

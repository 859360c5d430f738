// SPDX-License-Identifier: Apache-2.0
#include <array>

#include <gtest/gtest.h>

#include "layers/mtp/mtp.hpp"
#include "tests/support/arrays.hpp"
#include "tests/support/bounds.hpp"
#include "tests/support/complex_step.hpp"

namespace {

using support::Complex;
using support::Values;
using tensor::Index;
using tensor::Mat;
namespace mtp = layers::mtp;

constexpr double kEps = 1e-3;
enum Input { kEmb, kH, kEmbNorm, kHNorm, kProj, kInputs };
template <class S> using Inputs = std::array<std::vector<S>, kInputs>;

// Plain loops: embedding first, each half with its own norm.
template <class S> std::vector<S> reference(Index T, Index D, const Inputs<S> &in) {
  std::vector<S> y(T * D);
  for (Index t = 0; t < T; ++t) {
    std::vector<S> z;
    for (const auto &[x, g] : {std::pair{kEmb, kEmbNorm}, std::pair{kH, kHNorm}}) {
      S mean = 0;
      for (Index d = 0; d < D; ++d)
        mean += in[x][t * D + d] * in[x][t * D + d] / static_cast<double>(D);
      for (Index d = 0; d < D; ++d)
        z.push_back(in[x][t * D + d] * in[g][d] / std::sqrt(mean + kEps));
    }
    for (Index o = 0; o < D; ++o) {
      for (Index i = 0; i < 2 * D; ++i) y[t * D + o] += in[kProj][o * 2 * D + i] * z[i];
    }
  }
  return y;
}

template <class A> struct Case {
  Index T, D;
  Inputs<double> in;
  Values dy, y;
  std::array<Values, kInputs> got;
  Case(Index tokens, Index dim) : T(tokens), D(dim) {
    in = {support::normal<A>(T * D, 1), support::normal<A>(T * D, 2, 2.0),
          support::normal(D, 3, 0.2, 1.0), support::normal(D, 4, 0.2, 1.0),
          support::normal<A>(2 * D * D, 5, 0.2)};
    dy = support::normal<A>(T * D, 6);
  }
  void run() {
    tensor::Arena arena("test", std::size_t{1} << 22);
    tensor::Context ctx{tensor::Exec(), arena};
    arch::Dims dims;
    dims.model = D;
    const mtp::Weights<A> w{support::vec<float>(in[kEmbNorm]), support::vec<float>(in[kHNorm]),
                            support::mat<A>(in[kProj], D, 2 * D)};
    const mtp::Grads g{support::vec<float>(Values(D, 0.5)), support::vec<float>(Values(D, 0.5)),
                       support::mat<float>(Values(2 * D * D, 0.5), D, 2 * D)};
    const Mat<A> emb = support::mat<A>(in[kEmb], T, D), h = support::mat<A>(in[kH], T, D),
                 dy_TD = support::mat<A>(dy, T, D);
    const Mat<A> y_TD("y", T, D), demb("demb", T, D), dh("dh", T, D);
    const mtp::Saved<A> saved = mtp::allocate<A>(arena, dims, T);
    const mtp::Deltas<A> deltas = mtp::allocate_deltas<A>(arena, dims, T);
    mtp::forward<A>(ctx, w, static_cast<float>(kEps), emb, h, saved, y_TD);
    mtp::backward_input<A>(ctx, w, dy_TD, emb, h, saved, deltas, demb, dh);
    mtp::backward_weight<A>(ctx, dy_TD, emb, h, saved, deltas, g);
    ctx.exec.fence();
    y = support::download(y_TD);
    got = {support::download(demb), support::download(dh), support::download(g.embedding_norm_D),
           support::download(g.hidden_norm_D), support::download(g.w_proj_DZ)};
    for (int i = kEmbNorm; i < kInputs; ++i) {
      for (double &e : got[i]) e -= 0.5; // they add
    }
  }
};

TEST(Mtp, ForwardEqualsReference) {
  Case<float> c(9, 40);
  c.run();
  EXPECT_LT(support::relative_error(c.y, reference(c.T, c.D, c.in)), support::float_bound(80));
}

TEST(Mtp, GradientsEqualComplexStep) {
  Case<float> c(4, 7);
  c.run();
  Inputs<Complex> z;
  for (int i = 0; i < kInputs; ++i) z[i] = support::lift(c.in[i]);
  for (int i = 0; i < kInputs; ++i) {
    Inputs<Complex> moved = z;
    const auto loss = [&](const std::vector<Complex> &v) {
      moved[i] = v;
      return support::weighted(c.dy, reference(c.T, c.D, moved));
    };
    EXPECT_LT(support::relative_error(c.got[i], support::gradient(loss, c.in[i])),
              2 * support::float_bound(16))
        << "input " << i;
  }
}

TEST(Mtp, DotProductOnLargerSizes) {
  Case<float> c(130, 48);
  c.run();
  Inputs<Complex> z;
  double rhs = 0, size = 0;
  for (int i = 0; i < kInputs; ++i) {
    const Values v = support::normal(c.in[i].size(), 20 + i);
    z[i] = support::shifted(c.in[i], v);
    rhs += support::dot(c.got[i], v), size += support::dot(c.got[i], c.got[i]);
  }
  const double lhs = support::weighted(c.dy, reference(c.T, c.D, z)).imag() / support::kStep;
  EXPECT_LT(std::abs(lhs - rhs), 8 * support::float_bound(130) * std::sqrt(size));
}

TEST(Mtp, Bf16WithinBoundsOfFloat) {
  using numerics::bf16;
  Case<bf16> c(40, 48);
  Case<float> f(40, 48);
  f.in = c.in, f.dy = c.dy;
  c.run(), f.run();
  EXPECT_LT(support::relative_error(c.y, f.y), support::bound<bf16>(2, 96));
  for (int i = 0; i < kInputs; ++i)
    EXPECT_LT(support::relative_error(c.got[i], f.got[i]), support::bound<bf16>(3, 96))
        << "input " << i;
}

TEST(Mtp, NarrowDropsLastRowsAndWidenPutsThemBack) {
  tensor::Arena arena("test", 1 << 12);
  tensor::Context ctx{tensor::Exec(), arena};
  const Index samples = 3, rows = 5, dim = 4;
  const Values x = support::normal(samples * rows * dim, 1), old = support::normal(x.size(), 2);
  const Mat<float> x_TD = support::mat<float>(x, samples * rows, dim),
                   acc = support::mat<float>(old, samples * rows, dim),
                   y_UD("y", samples * (rows - 1), dim);
  mtp::narrow<float>(ctx, samples, rows, x_TD, y_UD);
  mtp::widen_acc<float>(ctx, samples, rows, y_UD, acc);
  ctx.exec.fence();
  const Values y = support::download(y_UD), sum = support::download(acc);
  for (Index s = 0; s < samples; ++s) {
    for (Index i = 0; i < rows; ++i) {
      for (Index d = 0; d < dim; ++d) {
        const Index t = (s * rows + i) * dim + d;
        if (i < rows - 1) {
          EXPECT_EQ(y[(s * (rows - 1) + i) * dim + d], x[t]);
          EXPECT_EQ(sum[t], static_cast<float>(old[t]) + static_cast<float>(x[t]));
        } else {
          EXPECT_EQ(sum[t], old[t]);
        }
      }
    }
  }
}

} // namespace

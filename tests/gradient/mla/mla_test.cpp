// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "layers/mla/mla.hpp"
#include "tests/gradient/attention/case.hpp"

namespace {

using attention_test::Shape;
using support::Complex;
using support::Values;
using tensor::Index;
using tensor::Mat;
namespace mla = layers::mla;

// y[T,O] = x[T,I] w[O,I]^T
template <class S>
std::vector<S> linear(const std::vector<S> &x, const std::vector<S> &w, Index in) {
  const Index T = x.size() / in, O = w.size() / in;
  std::vector<S> y(T * O);
  for (Index t = 0; t < T; ++t) {
    for (Index o = 0; o < O; ++o) {
      for (Index i = 0; i < in; ++i) y[t * O + o] += x[t * in + i] * w[o * in + i];
    }
  }
  return y;
}

template <class S>
std::vector<S> norm(const std::vector<S> &x, const std::vector<S> &g, double eps) {
  const std::size_t D = g.size();
  std::vector<S> y(x.size());
  for (std::size_t t = 0; t < x.size() / D; ++t) {
    S mean = 0;
    for (std::size_t d = 0; d < D; ++d)
      mean += x[t * D + d] * x[t * D + d] / static_cast<double>(D);
    for (std::size_t d = 0; d < D; ++d) y[t * D + d] = x[t * D + d] * g[d] / std::sqrt(mean + eps);
  }
  return y;
}

template <class S>
void rotate(std::vector<S> &x, Index heads, Index width, Index offset, const std::vector<double> &f,
            const std::vector<Index> &segments) {
  Index t = 0;
  for (const Index rows : segments) {
    for (Index position = 0; position < rows; ++position, ++t) {
      for (Index h = 0; h < heads; ++h) {
        S *p = &x[(t * heads + h) * width + offset];
        for (std::size_t i = 0; i < f.size(); ++i) {
          const double c = std::cos(position * f[i]), s = std::sin(position * f[i]);
          const S even = p[2 * i], odd = p[2 * i + 1];
          p[2 * i] = even * c - odd * s, p[2 * i + 1] = even * s + odd * c;
        }
      }
    }
  }
}

// All inputs that have a gradient, in this order: x, then the weights in the order of mla::Weights.
enum Input { kX, kDq, kUq, kQ, kQNorm, kKvNorm, kDkv, kUkv, kO, kInputs };
template <class S> using Inputs = std::array<std::vector<S>, kInputs>;

template <class S>
std::vector<S> reference(const arch::Dims &d, const std::vector<Index> &segments,
                         const Inputs<S> &in) {
  const Index D = d.model, Q = d.q_rank, C = d.kv_rank, R = d.rope, Y = C + R, H = d.heads;
  const std::vector<S> q0 =
      Q > 0 ? linear(norm(linear(in[kX], in[kDq], D), in[kQNorm], d.norm_eps), in[kUq], Q)
            : linear(in[kX], in[kQ], D);
  const std::vector<S> ck = linear(in[kX], in[kDkv], D);
  std::vector<S> c, k_rope;
  for (std::size_t i = 0; i < ck.size(); ++i)
    (static_cast<Index>(i) % Y < C ? c : k_rope).push_back(ck[i]);
  attention_test::Packed<S> packed{q0, linear(norm(c, in[kKvNorm], d.norm_eps), in[kUkv], C),
                                   k_rope};
  const std::vector<double> f = layers::rope::frequencies(d);
  rotate(packed.q, H, d.head_dim(), d.nope, f, segments);
  rotate(packed.k_rope, 1, R, 0, f, segments);
  const Shape shape{segments, H, d.nope, R, d.value, d.softmax_scale()};
  return linear(attention_test::reference(shape, packed), in[kO], H * d.value);
}

arch::Dims dims_of(Index model, Index q_rank, Index heads) {
  arch::Dims d;
  d.model = model, d.q_rank = q_rank, d.kv_rank = 6, d.heads = heads, d.nope = 5, d.rope = 4,
  d.value = 7;
  d.norm_eps = 1e-3;
  d.yarn.factor = 8, d.yarn.original = 64; // YaRN on: its factor enters the softmax
  return d;
}

template <class A> struct Case {
  arch::Dims d;
  std::vector<Index> segments;
  Index tokens = 0;
  Inputs<double> in;
  Values dy;
  std::array<Values, kInputs> got; // gradients
  Values y;

  Case(const arch::Dims &dims, const std::vector<Index> &rows, std::uint64_t seed = 1)
      : d(dims), segments(rows) {
    for (const Index n : rows) tokens += n;
    const Index D = d.model, Q = d.q_rank, X = d.heads * d.head_dim(), C = d.kv_rank,
                Z = d.heads * (d.nope + d.value), U = d.heads * d.value;
    const Index size[kInputs] = {tokens * D,       Q * D, X * Q, Q > 0 ? 0 : X * D, Q, C,
                                 (C + d.rope) * D, Z * C, D * U};
    const double fan[kInputs] = {1,  double(D), double(Q), double(D), 25,
                                 25, double(D), double(C), double(U)};
    for (int i = 0; i < kInputs; ++i) {
      const bool gain = i == kQNorm || i == kKvNorm;
      in[i] = gain ? support::normal(size[i], seed + i, 0.2, 1.0)
                   : support::normal<A>(size[i], seed + i, 1.5 / std::sqrt(fan[i]));
    }
    dy = support::normal<A>(tokens * D, seed + 20);
  }
  void run(const mla::Keep keep) {
    tensor::Arena arena("test", std::size_t{1} << 24);
    tensor::Context ctx{tensor::Exec(), arena};
    const Index D = d.model, Q = d.q_rank, X = d.heads * d.head_dim(), C = d.kv_rank,
                Y = C + d.rope, Z = d.heads * (d.nope + d.value), U = d.heads * d.value;
    mla::Weights<A> w;
    mla::Grads g;
    const auto half = [](const Values &v) {
      return Values(v.size(), 0.5);
    }; // accumulators that are not empty
    const auto matrix = [&](Input i, Index n, Index m, Mat<const A> &weight, Mat<float> &grad) {
      weight = support::mat<A>(in[i], n, m), grad = support::mat<float>(half(in[i]), n, m);
    };
    if (Q > 0) matrix(kDq, Q, D, w.w_dq_QD, g.w_dq_QD), matrix(kUq, X, Q, w.w_uq_XQ, g.w_uq_XQ);
    if (Q == 0) matrix(kQ, X, D, w.w_q_XD, g.w_q_XD);
    matrix(kDkv, Y, D, w.w_dkv_YD, g.w_dkv_YD), matrix(kUkv, Z, C, w.w_ukv_ZC, g.w_ukv_ZC),
        matrix(kO, D, U, w.w_o_DU, g.w_o_DU);
    w.q_norm_Q = support::vec<float>(in[kQNorm]), w.kv_norm_C = support::vec<float>(in[kKvNorm]);
    g.q_norm_Q = support::vec<float>(half(in[kQNorm])),
    g.kv_norm_C = support::vec<float>(half(in[kKvNorm]));
    const Mat<A> x_TD = support::mat<A>(in[kX], tokens, D), dy_TD = support::mat<A>(dy, tokens, D),
                 y_TD("y", tokens, D), dx_TD("dx", tokens, D);
    const layers::Segments rows = attention_test::make_segments(segments);
    const layers::rope::Table table = layers::rope::make_table(d, tokens);
    const mla::Saved<A> saved = mla::allocate<A>(arena, d, tokens, keep);
    const mla::Deltas<A> deltas = mla::allocate_deltas<A>(arena, d, tokens);
    mla::forward<A>(ctx, d, w, table, rows, x_TD, saved, y_TD);
    const mla::Saved<A> full = mla::refill<A>(ctx, d, w, table, rows, saved);
    mla::backward_input<A>(ctx, d, w, table, rows, dy_TD, full, deltas, dx_TD);
    mla::backward_weight<A>(ctx, d, dy_TD, x_TD, full, deltas, g);
    ctx.exec.fence();
    y = support::download(y_TD);
    got = {support::download(dx_TD), down(g.w_dq_QD),  down(g.w_uq_XQ),
           down(g.w_q_XD),           down(g.q_norm_Q), down(g.kv_norm_C),
           down(g.w_dkv_YD),         down(g.w_ukv_ZC), down(g.w_o_DU)};
  }
  template <class View> static Values down(const View &v) {
    Values values = support::download(v);
    for (double &e : values) e -= 0.5;
    return values;
  }
};

Inputs<Complex> lift(const Inputs<double> &in) {
  Inputs<Complex> z;
  for (int i = 0; i < kInputs; ++i) z[i] = support::lift(in[i]);
  return z;
}

class Queries : public ::testing::TestWithParam<Index> {}; // q_rank; 0: not compressed
INSTANTIATE_TEST_SUITE_P(Mla, Queries, ::testing::Values(8, 0));

TEST_P(Queries, ForwardEqualsReference) {
  for (const Index heads : {1, 3}) {
    Case<float> c(dims_of(24, GetParam(), heads), {70, 1, 20});
    c.run({});
    EXPECT_LT(support::relative_error(c.y, reference(c.d, c.segments, c.in)),
              4 * support::float_bound(24));
  }
}

TEST_P(Queries, GradientsEqualComplexStep) {
  Case<float> c(dims_of(9, GetParam(), 2), {6, 1, 4});
  c.run({});
  for (int i = 0; i < kInputs; ++i) {
    Inputs<Complex> z = lift(c.in);
    const Values expected = support::gradient(
        [&](const std::vector<Complex> &v) {
          z[i] = v;
          return support::weighted(c.dy, reference(c.d, c.segments, z));
        },
        c.in[i]);
    EXPECT_LT(support::relative_error(c.got[i], expected), 8 * support::float_bound(24))
        << "input " << i;
  }
}

TEST_P(Queries, DotProductOnLargerSizes) {
  Case<float> c(dims_of(40, GetParam(), 3), {70, 33});
  c.run({});
  Inputs<Complex> z;
  double rhs = 0, size = 0;
  for (int i = 0; i < kInputs; ++i) {
    const Values v = support::normal(c.in[i].size(), 50 + i);
    z[i] = support::shifted(c.in[i], v);
    rhs += support::dot(c.got[i], v), size += support::dot(c.got[i], c.got[i]);
  }
  const double lhs = support::weighted(c.dy, reference(c.d, c.segments, z)).imag() / support::kStep;
  EXPECT_LT(std::abs(lhs - rhs), 16 * support::float_bound(40) * std::sqrt(size));
}

TEST_P(Queries, Bf16WithinBoundsOfFloat) {
  using numerics::bf16;
  Case<bf16> c(dims_of(48, GetParam(), 3), {70, 33});
  Case<float> f(c.d, c.segments);
  f.in = c.in, f.dy = c.dy;
  c.run({}), f.run({});
  EXPECT_LT(support::relative_error(c.y, f.y),
            support::bound<bf16>(6, 48)); // q, kv, cn, o, y and the latents are rounded
  // 23 tensors are rounded on the longest way there and back; their errors add like squares, those of the scores count double.
  for (int i = 0; i < kInputs; ++i)
    EXPECT_LT(support::relative_error(c.got[i], f.got[i]), support::bound<bf16>(14, 48))
        << "input " << i;
}

template <class A> void recomputation_changes_nothing(const Index q_rank) {
  Case<A> c(dims_of(24, q_rank, 2), {40, 30});
  c.run({});
  const Values y = c.y;
  const auto kept = c.got;
  for (const mla::Keep keep :
       {mla::Keep{false, true}, mla::Keep{true, false}, mla::Keep{false, false}}) {
    c.run(keep);
    EXPECT_EQ(c.y, y);
    for (int i = 0; i < kInputs; ++i) EXPECT_EQ(c.got[i], kept[i]) << "input " << i;
  }
}
TEST_P(Queries, RecomputationChangesNoBit) {
  recomputation_changes_nothing<float>(GetParam());
  recomputation_changes_nothing<numerics::bf16>(GetParam());
}

} // namespace

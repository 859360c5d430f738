// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/gradient/attention/case.hpp"

namespace {

using namespace attention_test;
using numerics::bf16;

// Heads of odd sizes, blocks that are not full, segments of one row, of a block, of a block and one.
const std::vector<Shape> kShapes = {
    {{1}, 1, 3, 2, 5},
    {{64, 65, 1, 63}, 2, 5, 4, 7},
    {{200}, 3, 16, 8, 16},
    {{7, 130}, 2, 64, 32, 64, 0.1},
    {{70, 1, 1, 20}, 1, 33, 2, 31},
    {{129}, 1, 128, 64, 128, 0.07},
    {{100}, 1, 201, 55, 256, 0.06},
};

Packed<Complex> lift(const Packed<double> &in) {
  return {support::lift(in.q), support::lift(in.kv), support::lift(in.k_rope)};
}

class Bodies : public ::testing::TestWithParam<Body> {};
INSTANTIATE_TEST_SUITE_P(Attention, Bodies, ::testing::Values(Body::verb, Body::rows),
                         [](const auto &info) {
                           return info.param == Body::verb ? "verb" : "rows";
                         });

TEST_P(Bodies, ForwardEqualsReference) {
  for (const Shape &shape : kShapes) {
    Case<float> c(shape);
    c.run(GetParam());
    std::vector<double> lse;
    const Values o = reference(shape, c.in, &lse);
    EXPECT_LT(support::relative_error(c.o(), o), support::float_bound(shape.head_dim()))
        << shape.head_dim();
    EXPECT_LT(support::relative_error(c.lse(), lse), support::float_bound(shape.head_dim()))
        << shape.head_dim();
  }
}

TEST_P(Bodies, GradientsEqualComplexStep) {
  for (const Shape &shape : {Shape{{9, 1, 4}, 2, 3, 2, 5, 0.4}, Shape{{70}, 1, 1, 2, 1, 0.5}}) {
    Case<float> c(shape);
    c.run(GetParam());
    const auto loss = [&](Packed<Complex> in) {
      return support::weighted(c.d_o, reference(shape, in));
    };
    Packed<Complex> z = lift(c.in);
    const auto by_q = [&](const std::vector<Complex> &q) { return loss({q, z.kv, z.k_rope}); };
    const auto by_kv = [&](const std::vector<Complex> &kv) { return loss({z.q, kv, z.k_rope}); };
    const auto by_rope = [&](const std::vector<Complex> &k) { return loss({z.q, z.kv, k}); };
    EXPECT_LT(support::relative_error(c.dq(), support::gradient(by_q, c.in.q)),
              support::float_bound(64));
    EXPECT_LT(support::relative_error(c.dkv(), support::gradient(by_kv, c.in.kv)),
              support::float_bound(64));
    EXPECT_LT(support::relative_error(c.dk_rope(), support::gradient(by_rope, c.in.k_rope)),
              support::float_bound(64));
  }
}

TEST_P(Bodies, DotProductOnLargerSizes) {
  for (const Shape &shape : kShapes) {
    Case<float> c(shape);
    c.run(GetParam());
    const Values vq = support::normal(c.in.q.size(), 5), vkv = support::normal(c.in.kv.size(), 6),
                 vr = support::normal(c.in.k_rope.size(), 7);
    const Packed<Complex> moved{support::shifted(c.in.q, vq), support::shifted(c.in.kv, vkv),
                                support::shifted(c.in.k_rope, vr)};
    const double lhs = support::weighted(c.d_o, reference(shape, moved)).imag() / support::kStep;
    const double rhs =
        support::dot(c.dq(), vq) + support::dot(c.dkv(), vkv) + support::dot(c.dk_rope(), vr);
    const double size = std::sqrt(support::dot(c.dq(), c.dq()) + support::dot(c.dkv(), c.dkv()) +
                                  support::dot(c.dk_rope(), c.dk_rope()));
    EXPECT_LT(std::abs(lhs - rhs), 4 * support::float_bound(shape.head_dim()) * size)
        << shape.head_dim();
  }
}

// Scores of some hundreds: weights underflow, nothing overflows.
TEST_P(Bodies, SharpScoresStayDefined) {
  const Shape shape{{90, 40}, 2, 8, 4, 8, 1.0};
  Case<float> c(shape, 60.0);
  c.run(GetParam());
  EXPECT_LT(support::relative_error(c.o(), reference(shape, c.in)),
            1e-4); // a score of 500 carries an error of 3e-5
  for (const Values &v : {c.dq(), c.dkv(), c.dk_rope()}) {
    for (const double e : v) ASSERT_TRUE(std::isfinite(e));
  }
}

TEST(Attention, Bf16WithinBoundsOfFloat) {
  for (const Shape &shape : kShapes) {
    Case<bf16> c(shape);
    Case<float> f(shape);
    f.q_THM = support::cube<float>(c.in.q, shape.tokens(), shape.heads, shape.head_dim());
    f.kv_THX = support::cube<float>(c.in.kv, shape.tokens(), shape.heads, shape.nope + shape.value);
    f.k_rope_TR = support::mat<float>(c.in.k_rope, shape.tokens(), shape.rope);
    f.do_THV = support::cube<float>(c.d_o, shape.tokens(), shape.heads, shape.value);
    c.run(), f.run();
    if (shape.tokens() == 1) continue; // gradients by q and k are zero up to rounding
    EXPECT_LT(support::relative_error(c.o(), f.o()), support::bound<bf16>(1, shape.head_dim()));
    // o is rounded to bf16 and enters delta: two roundings.
    EXPECT_LT(support::relative_error(c.dq(), f.dq()), support::bound<bf16>(2, shape.head_dim()));
    EXPECT_LT(support::relative_error(c.dkv(), f.dkv()), support::bound<bf16>(2, shape.head_dim()));
    EXPECT_LT(support::relative_error(c.dk_rope(), f.dk_rope()),
              support::bound<bf16>(2, shape.head_dim()));
  }
}

// A row's bits depend on the earlier rows of its segment alone: not on later rows, other segments, or the row's place.
TEST(Attention, RowsDoNotDependOnTheirSurroundings) {
  const Shape whole{{150}, 2, 12, 4, 20};
  Case<float> c(whole);
  c.run();
  const Shape cut{{33, 101, 5}, 2, 12, 4, 20};
  Case<float> d(cut);
  const auto copy_rows = [](const auto &from, const auto &to, const Index first, const Index rows) {
    const Index width = from.size() / from.extent(0);
    std::memcpy(to.data() + first * width, from.data(), sizeof(float) * rows * width);
  };
  copy_rows(c.q_THM, d.q_THM, 33, 101), copy_rows(c.kv_THX, d.kv_THX, 33, 101),
      copy_rows(c.k_rope_TR, d.k_rope_TR, 33, 101);
  d.run();
  const Values o = c.o(), p = d.o(), lse_o = c.lse(), lse_p = d.lse();
  for (Index i = 0; i < 101 * 40; ++i) ASSERT_EQ(o[i], p[33 * 40 + i]) << i;
  for (Index i = 0; i < 101 * 2; ++i) ASSERT_EQ(lse_o[i], lse_p[33 * 2 + i]) << i;
}

// Tasks fall to the threads by chance.
TEST(Attention, RepeatedRunsGiveTheSameBits) {
  const Shape shape{{130, 70, 3, 64}, 3, 12, 4, 20};
  Case<float> c(shape);
  c.run();
  const Values o = c.o(), dq = c.dq(), dkv = c.dkv(), dk_rope = c.dk_rope();
  for (int i = 0; i < 3; ++i) {
    c.run();
    EXPECT_EQ(c.o(), o);
    EXPECT_EQ(c.dq(), dq);
    EXPECT_EQ(c.dkv(), dkv);
    EXPECT_EQ(c.dk_rope(), dk_rope);
  }
}

// Moving a key of one segment leaves the others' rows alone, and later keys never matter.
TEST(Attention, NothingCrossesSegmentsOrRunsBackwards) {
  const Shape shape{{30, 40}, 1, 8, 4, 8};
  Case<float> c(shape), d(shape);
  for (Index i = 0; i < 16; ++i) d.kv_THX(50, 0, i) = 100.0F; // row 20 of the second segment
  c.run(), d.run();
  const Values a = c.o(), b = d.o();
  for (Index i = 0; i < 50 * 8; ++i) ASSERT_EQ(a[i], b[i]);
  EXPECT_NE(a[50 * 8], b[50 * 8]);
  const Values dq = c.dq(), dq_moved = d.dq();
  for (Index i = 0; i < 50 * 12; ++i) ASSERT_EQ(dq[i], dq_moved[i]);
}

TEST(Attention, CountsItsWork) {
  const Shape shape{{3, 2}, 5, 4, 2, 7};
  EXPECT_EQ(layers::attention::forward_flops(make_segments(shape.segments), 5, 6, 7),
            2.0 * (6 + 3) * 5 * 13);
  EXPECT_EQ(layers::attention::backward_flops(make_segments(shape.segments), 5, 6, 7),
            2.0 * (6 + 3) * 5 * (18 + 14));
}

} // namespace

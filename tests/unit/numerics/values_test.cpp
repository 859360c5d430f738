// SPDX-License-Identifier: Apache-2.0
// Values of the products against plain loops of doubles, over shapes that hit every kind of piece and tail.
#include "tests/unit/numerics/products.hpp"

using namespace products;

namespace {

constexpr const char *kLabel = "tests::numerics::values";

struct Shape {
  Index T, O, I;
};
const std::vector<Shape> kShapes = {{1, 1, 1},     {3, 5, 7},       {16, 32, 48},  {63, 33, 17},
                                    {64, 96, 64},  {100, 352, 128}, {129, 40, 65}, {191, 64, 512},
                                    {257, 300, 9}, {600, 130, 10},  {1100, 36, 20}};

template <class T> void set(const Values &v, const tensor::Mat<T> &m) { support::upload(v, m); }

template <class A, class Y> void check_linear(Bench &b, const Shape &s) {
  const auto [T, O, I] = s;
  const Values x = support::normal<A>(T * I, 1), w = support::normal<A>(O * I, 2);
  auto y = support::mat<Y>(Values(T * O, 7.0), T, O);
  numerics::linear<A, Y>(b.ctx, kLabel, support::mat<A>(x, T, I), support::mat<A>(w, O, I), y);
  expect_close<Y>(support::download(y), products::linear(x.data(), w.data(), T, O, I), I,
                  fmt::format("linear {} {} {}", T, O, I));
}

template <class A> void check_backward(Bench &b, const Shape &s) {
  const auto [T, O, I] = s;
  const std::string what = fmt::format("{} {} {}", T, O, I);
  const Values x = support::normal<A>(T * I, 1), w = support::normal<A>(O * I, 2),
               dy = support::normal<A>(T * O, 3);
  const auto dy_TO = support::mat<A>(dy, T, O);
  const auto w_OI = support::mat<A>(w, O, I);
  Reference want = products::backward_input(dy.data(), w.data(), T, O, I);
  auto dx = support::mat<A>(Values(T * I, 7.0), T, I);
  numerics::linear_backward_input<A>(b.ctx, kLabel, dy_TO, w_OI, dx);
  expect_close<A>(support::download(dx), want, O, "dx " + what);
  numerics::linear_backward_input<A>(b.ctx, kLabel, dy_TO, w_OI, dx, true);
  const Values once = support::download(dx);
  auto added = support::mat<A>(support::normal<A>(T * I, 4), T, I);
  const Values before = support::download(added);
  numerics::linear_backward_input<A>(b.ctx, kLabel, dy_TO, w_OI, added, true);
  for (std::size_t i = 0; i < want.sum.size(); ++i)
    want.sum[i] += before[i], want.magnitude[i] += std::abs(before[i]);
  expect_close<A>(support::download(added), want, O + 1, "dx += " + what);

  want = products::backward_weight(dy.data(), x.data(), T, O, I);
  const Values start = support::normal<float>(O * I, 5);
  auto dw = support::mat<float>(start, O, I);
  numerics::linear_backward_weight<A>(b.ctx, kLabel, dy_TO, support::mat<A>(x, T, I), dw);
  for (std::size_t i = 0; i < want.sum.size(); ++i)
    want.sum[i] += start[i], want.magnitude[i] += std::abs(start[i]);
  expect_close<float>(support::download(dw), want, T + 1, "dw " + what);
}

// One expert after the other in the reference; expert rows beyond the last offset stay untouched.
template <class A> void check_grouped(Bench &b, const Offsets &offsets, Index O, Index I) {
  const Index E = static_cast<Index>(offsets.size()) - 1, rows = offsets.back() + 3;
  const Values x = support::normal<A>(rows * I, 1), w = support::normal<A>(E * O * I, 2),
               dy = support::normal<A>(rows * O, 3);
  const auto x_AI = support::mat<A>(x, rows, I);
  const auto dy_AO = support::mat<A>(dy, rows, O);
  const auto w_EOI = support::cube<A>(w, E, O, I);
  auto y = support::mat<A>(Values(rows * O, 7.0), rows, O);
  auto dx = support::mat<A>(Values(rows * I, 7.0), rows, I);
  auto dw = support::cube<float>(Values(E * O * I, 0.5), E, O, I);
  numerics::grouped_linear<A, A>(b.ctx, kLabel, offsets, x_AI, w_EOI, y);
  numerics::grouped_linear_backward_input<A>(b.ctx, kLabel, offsets, dy_AO, w_EOI, dx);
  numerics::grouped_linear_backward_weight<A>(b.ctx, kLabel, offsets, dy_AO, x_AI, dw);
  const Values got_y = support::download(y), got_dx = support::download(dx),
               got_dw = support::download(dw);
  for (Index e = 0; e < E; ++e) {
    const Index from = offsets[e], T = offsets[e + 1] - from;
    const std::string what = fmt::format("expert {} of {} rows", e, T);
    const double *we = &w[e * O * I];
    const auto part = [](const Values &v, Index begin, Index n) {
      return Values(v.begin() + begin, v.begin() + begin + n);
    };
    expect_close<A>(part(got_y, from * O, T * O), products::linear(&x[from * I], we, T, O, I), I,
                    "y, " + what);
    expect_close<A>(part(got_dx, from * I, T * I),
                    products::backward_input(&dy[from * O], we, T, O, I), O, "dx, " + what);
    Reference want = products::backward_weight(&dy[from * O], &x[from * I], T, O, I);
    for (std::size_t i = 0; i < want.sum.size(); ++i) want.sum[i] += 0.5, want.magnitude[i] += 0.5;
    expect_close<float>(part(got_dw, e * O * I, O * I), want, T + 1, "dw, " + what);
  }
  for (std::size_t i = offsets.back() * O; i < got_y.size(); ++i) ASSERT_EQ(got_y[i], 7.0);
  for (std::size_t i = offsets.back() * I; i < got_dx.size(); ++i) ASSERT_EQ(got_dx[i], 7.0);
}

void check_all() {
  Bench b;
  for (const Shape &s : kShapes) {
    check_linear<float, float>(b, s);
    check_linear<bf16, bf16>(b, s);
    check_linear<bf16, float>(b, s);
    check_backward<float>(b, s);
    check_backward<bf16>(b, s);
  }
  for (const Offsets &offsets : {Offsets{0, 0, 5, 5, 70, 71, 400, 400}, Offsets{0, 600, 601},
                                 Offsets{0, 0}, Offsets{0, 64, 128, 192}}) {
    check_grouped<float>(b, offsets, 48, 40);
    check_grouped<bf16>(b, offsets, 48, 40);
  }
}

} // namespace

TEST(Values, OneDnn) { check_all(); }

TEST(Values, KokkosKernels) {
  numerics::set_gemm_body(numerics::GemmBody::kokkos);
  check_all();
  numerics::set_gemm_body(numerics::GemmBody::onednn);
}

TEST(Values, OwnLoops) {
  numerics::set_gemm_body(numerics::GemmBody::plain);
  check_all();
  numerics::set_gemm_body(numerics::GemmBody::onednn);
}

// oneDNN told that the processor is an older one: AVX2 has no bf16 body, so tiles are converted.
TEST(Values, OlderProcessors) {
  for (const char *isa : {"AVX2", "AVX512_CORE", "AVX512_CORE_BF16"}) {
    const Child child =
        run_again(std::string("OMP_NUM_THREADS=1 DNNL_MAX_CPU_ISA=") + isa, "Values.OneDnn");
    EXPECT_EQ(child.status, 0) << isa << "\n" << child.output;
  }
}

TEST(Values, NothingToSum) {
  Bench b;
  auto y = support::mat<float>(Values(6, 7.0), 2, 3);
  numerics::linear<float, float>(b.ctx, kLabel, tensor::Mat<float>("x", 2, 0),
                                 tensor::Mat<float>("w", 3, 0), y);
  EXPECT_EQ(support::download(y), Values(6, 0.0));
  auto dx = support::mat<bf16>(Values(6, 7.0), 2, 3);
  numerics::linear_backward_input<bf16>(b.ctx, kLabel, tensor::Mat<bf16>("dy", 2, 0),
                                        tensor::Mat<bf16>("w", 0, 3), dx, true);
  EXPECT_EQ(support::download(dx), Values(6, 7.0));
  auto dw = support::mat<float>(Values(6, 7.0), 2, 3);
  numerics::linear_backward_weight<float>(b.ctx, kLabel, tensor::Mat<float>("dy", 0, 2),
                                          tensor::Mat<float>("x", 0, 3), dw);
  EXPECT_EQ(support::download(dw), Values(6, 7.0));
  numerics::linear<float, float>(b.ctx, kLabel, tensor::Mat<float>("x", 0, 4),
                                 tensor::Mat<float>("w", 3, 4), tensor::Mat<float>("y", 0, 3));
}

TEST(Values, WrongShapesAreFaults) {
  Bench b;
  const tensor::Mat<float> x("x", 4, 8), w("w", 3, 7), y("y", 4, 3);
  EXPECT_THROW((numerics::linear<float, float>(b.ctx, kLabel, x, w, y)), base::Fault);
  const tensor::Cube<float> experts("w", 2, 3, 8);
  EXPECT_THROW(
      (numerics::grouped_linear<float, float>(b.ctx, kLabel, Offsets{0, 4}, x, experts, y)),
      base::Fault);
  EXPECT_THROW(
      (numerics::grouped_linear<float, float>(b.ctx, kLabel, Offsets{0, 3, 2}, x, experts, y)),
      base::Fault);
  EXPECT_THROW(
      (numerics::grouped_linear<float, float>(b.ctx, kLabel, Offsets{0, 3, 5}, x, experts, y)),
      base::Fault);
}

TEST(Values, WorkIsCounted) {
  tensor::WorkCounter counter;
  Bench b;
  b.ctx.counter = &counter;
  check_linear<float, float>(b, {10, 20, 30});
  ASSERT_EQ(counter.work().count(kLabel), 1U);
  EXPECT_EQ(counter.work().at(kLabel).flops, 2.0 * 10 * 20 * 30);
  EXPECT_EQ(counter.work().at(kLabel).bytes, 4.0 * (10 * 30 + 20 * 30 + 10 * 20));
}

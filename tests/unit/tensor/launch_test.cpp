// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "tensor/launch.hpp"

using tensor::Index;
using tensor::kLanes;
using tensor::Row;

namespace {

constexpr const char *kLabel = "tests::tensor::launch";

struct Bench {
  tensor::Arena arena{"test", 1024};
  tensor::Context ctx{tensor::Exec(), arena};
};

float value(Index i) {
  return static_cast<float>(
      base::random::normal(1, base::random::Purpose::test, 0, std::uint64_t(i)));
}

// The order that launch.hpp promises, written without loops over vectors.
float tree(const float *lane, int begin, int step, int count) {
  return count == 1 ? lane[begin]
                    : tree(lane, begin, 2 * step, count / 2) +
                          tree(lane, begin + step, 2 * step, count / 2);
}
float promised_sum(Index n) {
  float lane[kLanes] = {};
  for (Index i = 0; i < n; ++i) lane[i % kLanes] += value(i);
  return tree(lane, 0, 1, kLanes);
}

// Counts how often it is asked, and launches something each time.
class Asked : public tensor::Background {
public:
  explicit Asked(tensor::Context &ctx) : ctx_(ctx) {}
  int times = 0;

private:
  void progress() override {
    ++times;
    tensor::for_each(ctx_, kLabel, 1, KOKKOS_LAMBDA(const Index){});
  }
  tensor::Context &ctx_;
};

TEST(Launch, TheBackgroundIsPolledAfterEachLaunchAndNotByItself) {
  Bench bench;
  tensor::Context &ctx = bench.ctx;
  Asked asked(ctx);
  ctx.background = &asked;
  tensor::for_each(ctx, kLabel, 3, KOKKOS_LAMBDA(const Index){});
  EXPECT_EQ(asked.times, 1);
  tensor::for_rows(ctx, kLabel, 3, KOKKOS_LAMBDA(const Row &, const Index){});
  EXPECT_EQ(asked.times, 2);
  tensor::for_tasks(ctx, kLabel, 3, KOKKOS_LAMBDA(const Row &, const Index){});
  EXPECT_EQ(asked.times, 3);
  tensor::for_each(ctx, kLabel, 0, KOKKOS_LAMBDA(const Index){}); // nothing is launched
  EXPECT_EQ(asked.times, 3);
  tensor::Arena other("other", 256);
  tensor::Context elsewhere = ctx.within(other);
  tensor::for_each(elsewhere, kLabel, 1, KOKKOS_LAMBDA(const Index){});
  EXPECT_EQ(asked.times, 4);
  EXPECT_EQ(&elsewhere.arena, &other);
}

} // namespace

TEST(Launch, RowSumHasTheStatedOrder) {
  Bench b;
  const tensor::Vec<float> values("values", 1000), sums("sums", 1000);
  for (Index i = 0; i < 1000; ++i) values(i) = value(i);
  tensor::for_rows(
      b.ctx, kLabel, 1000, KOKKOS_LAMBDA(const Row &row, Index n) {
        const float sum = row_sum(row, n, [&](Index i) { return values(i); });
        row_once(row, [&] { sums(n) = sum; });
      });
  int plain_equal = 0;
  for (Index n = 0; n < 1000; ++n) {
    ASSERT_EQ(sums(n), promised_sum(n)) << n;
    float plain = 0;
    for (Index i = 0; i < n; ++i) plain += value(i);
    plain_equal += plain == sums(n);
  }
  EXPECT_LT(plain_equal, 900); // the test can tell orders apart
}

TEST(Launch, RowMax) {
  Bench b;
  const tensor::Vec<float> best("best", 200);
  tensor::for_rows(
      b.ctx, kLabel, 200, KOKKOS_LAMBDA(const Row &row, Index n) {
        const float m =
            row_max(row, n, [&](Index i) { return i == n / 2 ? -1.0F : -2.0F - float(i); });
        row_once(row, [&] { best(n) = m; });
      });
  EXPECT_EQ(best(0), -HUGE_VALF);
  for (Index n = 1; n < 200; ++n) EXPECT_EQ(best(n), -1.0F) << n;
}

TEST(Launch, EachElementRowAndTaskOnce) {
  Bench b;
  const Index n = 1237;
  const tensor::Vec<int> each("each", n), rows("rows", n), tasks("tasks", n), inner("inner", n);
  tensor::for_each(
      b.ctx, kLabel, n, KOKKOS_LAMBDA(const Index i) { each(i) += 1; });
  tensor::for_rows(
      b.ctx, kLabel, n,
      KOKKOS_LAMBDA(const Row &row, Index t) { row_once(row, [&] { rows(t) += 1; }); });
  tensor::for_tasks(
      b.ctx, kLabel, n,
      KOKKOS_LAMBDA(const Row &row, Index t) { row_once(row, [&] { tasks(t) += 1; }); });
  tensor::for_rows(
      b.ctx, kLabel, 1,
      KOKKOS_LAMBDA(const Row &row, Index) { row_for(row, n, [&](Index i) { inner(i) += 1; }); });
  for (Index i = 0; i < n; ++i)
    ASSERT_EQ(each(i) * 1000 + rows(i) * 100 + tasks(i) * 10 + inner(i), 1111) << i;
}

TEST(Launch, NothingToDo) {
  Bench b;
  const tensor::Vec<int> hit("hit", 1);
  tensor::for_each(
      b.ctx, kLabel, 0, KOKKOS_LAMBDA(const Index) { hit(0) = 1; });
  tensor::for_rows(
      b.ctx, kLabel, 0, KOKKOS_LAMBDA(const Row &, Index) { hit(0) = 1; });
  tensor::for_tasks(
      b.ctx, kLabel, 0, KOKKOS_LAMBDA(const Row &, Index) { hit(0) = 1; });
  EXPECT_EQ(hit(0), 0);
}

// SPDX-License-Identifier: Apache-2.0
#include "layers/dispatch/dispatch.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.hpp"
#include "tests/support/arrays.hpp"

namespace {

using support::Values;
using tensor::Index;
namespace dispatch = layers::dispatch;

arch::Dims dims_of(Index experts, Index chosen, Index groups = 1) {
  arch::Dims dims;
  dims.experts = experts, dims.chosen = chosen, dims.groups = dims.chosen_groups = groups;
  return dims;
}

// K different experts of each token, ascending.
std::vector<int> random_choice(Index tokens, Index experts, Index chosen) {
  std::vector<int> ids;
  for (Index t = 0; t < tokens; ++t) {
    std::vector<int> row;
    for (std::uint64_t i = 0; static_cast<Index>(row.size()) < chosen; ++i) {
      const int e =
          static_cast<int>(base::random::bits(3, base::random::Purpose::test, t, i) % experts);
      if (std::find(row.begin(), row.end(), e) == row.end()) row.push_back(e);
    }
    std::sort(row.begin(), row.end());
    ids.insert(ids.end(), row.begin(), row.end());
  }
  return ids;
}

struct Planned {
  arch::Dims dims;
  Index T;
  std::vector<int> expert;
  tensor::Arena arena{"test", 1 << 24};
  tensor::Context ctx{tensor::Exec(), arena};
  tensor::Mat<std::int32_t> expert_TK;
  dispatch::Plan plan;

  Planned(const arch::Dims &d, const std::vector<int> &ids)
      : dims(d), T(static_cast<Index>(ids.size()) / d.chosen), expert(ids),
        expert_TK("expert", T, d.chosen) {
    for (std::size_t i = 0; i < ids.size(); ++i) expert_TK.data()[i] = ids[i];
    plan = dispatch::allocate(arena, d, T);
    dispatch::plan(ctx, d, expert_TK, plan);
    ctx.exec.fence();
  }
};

// A stable sort of the copies by expert says the same.
void expect_sorted(const Planned &p) {
  const Index A = static_cast<Index>(p.expert.size()), K = p.dims.chosen;
  std::vector<int> copies(A);
  for (Index i = 0; i < A; ++i) copies[i] = static_cast<int>(i);
  std::stable_sort(copies.begin(), copies.end(),
                   [&](int a, int b) { return p.expert[a] < p.expert[b]; });
  for (Index a = 0; a < A; ++a) {
    ASSERT_EQ(p.plan.token_A(a), copies[a] / K) << a;
    ASSERT_EQ(p.plan.arrival_TK.data()[copies[a]], a);
  }
  for (Index e = 0; e <= p.dims.experts; ++e) {
    const Index below =
        std::count_if(p.expert.begin(), p.expert.end(), [&](int id) { return id < e; });
    EXPECT_EQ(p.plan.offsets(e), below);
    EXPECT_EQ(p.plan.offsets_device(e), below);
  }
}

TEST(Dispatch, PlanIsTheStableSortByExpert) {
  for (const Index tokens : {0, 1, 7, 63, 64, 65, 1000})
    expect_sorted(Planned(dims_of(12, 3), random_choice(tokens, 12, 3)));
  expect_sorted(Planned(dims_of(512, 16), random_choice(300, 512, 16)));
}

TEST(Dispatch, AllTokensToOneExpertAndExpertsWithoutTokens) {
  const Planned p(dims_of(9, 1), std::vector<int>(200, 4));
  expect_sorted(p);
  EXPECT_EQ(p.plan.offsets(4), 0);
  EXPECT_EQ(p.plan.offsets(5), 200);
  EXPECT_EQ(p.plan.offsets(9), 200);
}

template <class A> void gather_then_combine(Index D) {
  const Index T = 90;
  const arch::Dims dims = dims_of(8, 3, 4);
  Planned p(dims, random_choice(T, 8, 3));
  const Values x = support::normal<A>(T * D, 1), y = support::normal<A>(T * 3 * D, 2),
               base = support::normal<A>(T * D, 3);
  tensor::Mat<A> x_AD("x", T * 3, D), y_TD("y", T, D), plain_TD("plain", T, D);
  dispatch::gather<A>(p.ctx, "test::gather", p.plan, support::mat<A>(x, T, D), x_AD);
  dispatch::combine<A>(p.ctx, "test::combine", dims, p.plan, p.expert_TK,
                       support::mat<A>(y, T * 3, D), support::mat<A>(base, T, D), y_TD);
  dispatch::combine<A>(p.ctx, "test::plain", dims, p.plan, p.expert_TK,
                       support::mat<A>(y, T * 3, D), {}, plain_TD);
  p.ctx.exec.fence();
  for (Index a = 0; a < T * 3; ++a)
    for (Index d = 0; d < D; ++d)
      ASSERT_EQ(static_cast<float>(x_AD(a, d)), x[p.plan.token_A(a) * D + d]);
  // The law of sums, written out: experts of a group in order, rounded once; groups in order; the base last.
  for (Index t = 0; t < T; ++t)
    for (Index d = 0; d < D; ++d) {
      float total = 0;
      for (int g = 0; g < 4; ++g) {
        float group = 0;
        for (int k = 0; k < 3; ++k)
          if (p.expert[t * 3 + k] / 2 == g)
            group += static_cast<float>(y[p.plan.arrival_TK(t, k) * D + d]);
        total += static_cast<float>(A(group));
      }
      ASSERT_EQ(static_cast<float>(plain_TD(t, d)), static_cast<float>(A(total)));
      ASSERT_EQ(static_cast<float>(y_TD(t, d)),
                static_cast<float>(A(total + static_cast<float>(base[t * D + d]))))
          << t << " " << d;
    }
}
TEST(Dispatch, GatherAndCombineKeepTheLawOfSums) {
  for (const Index D : {1, 32, 45, 128}) {
    gather_then_combine<float>(D);
    gather_then_combine<numerics::bf16>(D);
  }
}

// <combine(y), v> = <y, gather(v)>: each is the reverse of the other.
TEST(Dispatch, GatherIsTheReverseOfCombine) {
  const Index T = 64, D = 40;
  const arch::Dims dims = dims_of(16, 4, 4);
  Planned p(dims, random_choice(T, 16, 4));
  const Values v = support::normal(T * D, 1), y = support::normal(T * 4 * D, 2);
  tensor::Mat<float> v_AD("v", T * 4, D), y_TD("y", T, D);
  dispatch::gather<float>(p.ctx, "test::gather", p.plan, support::mat<float>(v, T, D), v_AD);
  dispatch::combine<float>(p.ctx, "test::combine", dims, p.plan, p.expert_TK,
                           support::mat<float>(y, T * 4, D), {}, y_TD);
  EXPECT_NEAR(support::dot(support::download(y_TD), v), support::dot(y, support::download(v_AD)),
              1e-3);
}

} // namespace

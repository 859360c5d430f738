// SPDX-License-Identifier: Apache-2.0
// Choices that public implementations disagree on, each on numbers made for it. The router's weight is the identity, so that
// the input is the logits.
#include <gtest/gtest.h>

#include "layers/router/router.hpp"
#include "tests/gradient/router/reference.hpp"
#include "tests/support/arrays.hpp"

namespace {

using support::Values;
using tensor::Index;
namespace router = layers::router;

struct Outcome {
  std::vector<int> expert;
  Values weight, f;
  std::vector<std::int64_t> load;
  double balance = 0;
};

double logit(double s) { return std::log(s / (1 - s)); }

Outcome route(const arch::Dims &dims, const Values &logits, const Values &bias, double alpha = 0) {
  const Index E = dims.experts, T = static_cast<Index>(logits.size()) / E;
  tensor::Arena arena("test", 1 << 22);
  tensor::Context ctx{tensor::Exec(), arena};
  Values identity(E * E, 0.0);
  for (Index e = 0; e < E; ++e) identity[e * E + e] = 1.0;
  const auto saved = router::allocate(arena, dims, T, 1);
  const tensor::Vec<std::int64_t> load_E("load", E);
  const tensor::Vec<double> balance_S("balance", 1);
  router::forward<float>(ctx, dims, support::mat<float>(identity, E, E), support::vec<float>(bias),
                         support::mat<float>(logits, T, E), 1, alpha, saved, load_E, balance_S);
  ctx.exec.fence();
  Outcome o;
  for (Index t = 0; t < T; ++t)
    for (Index k = 0; k < dims.chosen; ++k) o.expert.push_back(saved.expert_TK(t, k));
  o.weight = support::download(saved.weight_TK), o.f = support::download(saved.balance_SE),
  o.balance = balance_S(0);
  for (Index e = 0; e < E; ++e) o.load.push_back(load_E(e));
  return o;
}

arch::Dims dims_of(Index experts, Index chosen, Index groups, Index chosen_groups) {
  arch::Dims dims;
  dims.model = dims.experts = experts, dims.chosen = chosen, dims.groups = groups,
  dims.chosen_groups = chosen_groups;
  dims.route_scale = 1.0;
  return dims;
}
Values logits_of(const Values &scores) {
  Values l;
  for (const double s : scores) l.push_back(logit(s));
  return l;
}
using Ids = std::vector<int>;

// All biased scores of the kept group are negative. Masked by 0.0 instead of -inf, the other group would win.
TEST(RouterTraps, MaskedGroupsStayOutWhenScoresAreNegative) {
  const Outcome o =
      route(dims_of(4, 2, 2, 1), logits_of({0.9, 0.8, 0.2, 0.1}), {-1.5, -1.5, -1.5, -1.5});
  EXPECT_EQ(o.expert, (Ids{0, 1}));
}

// Biases turn the choice over; the weights come from the scores alone.
TEST(RouterTraps, BiasChoosesButDoesNotWeigh) {
  const Outcome o = route(dims_of(4, 2, 1, 1), logits_of({0.9, 0.8, 0.2, 0.3}), {0, 0, 5, 5});
  EXPECT_EQ(o.expert, (Ids{2, 3}));
  EXPECT_NEAR(o.weight[0], 0.4, 1e-6);
  EXPECT_NEAR(o.weight[1], 0.6, 1e-6);
}

// Group 0 has the highest expert, group 1 the better pair.
TEST(RouterTraps, GroupsAreScoredByTheirTwoBestOrTheirBest) {
  arch::Dims dims = dims_of(6, 2, 2, 1);
  const Values scores = logits_of({0.9, 0.1, 0.1, 0.6, 0.7, 0.1}), none(6, 0.0);
  EXPECT_EQ(route(dims, scores, none).expert, (Ids{3, 4}));
  dims.group_score = arch::GroupScore::maximum;
  EXPECT_EQ(route(dims, scores, none).expert, (Ids{0, 1}));
}

TEST(RouterTraps, TiesGoToTheLowerNumber) {
  EXPECT_EQ(route(dims_of(8, 3, 1, 1), Values(8, 0.0), Values(8, 0.0)).expert, (Ids{0, 1, 2}));
  EXPECT_EQ(route(dims_of(8, 3, 4, 2), Values(8, 0.0), Values(8, 0.0)).expert, (Ids{0, 1, 2}));
  // below zero too
  EXPECT_EQ(route(dims_of(4, 2, 1, 1), Values(4, 0.0), {-0.5, -0.5, -0.6, -0.5}).expert,
            (Ids{0, 1}));
}

TEST(RouterTraps, ChosenExpertsAscend) {
  const Outcome o =
      route(dims_of(6, 4, 1, 1), logits_of({0.3, 0.9, 0.2, 0.6, 0.1, 0.8}), Values(6, 0.0));
  EXPECT_EQ(o.expert, (Ids{0, 1, 3, 5}));
  EXPECT_NEAR(o.weight[3] / o.weight[0], 0.8 / 0.3, 1e-6);
}

// The balance loss counts the unbiased choice without groups; the load counts where copies really go.
TEST(RouterTraps, BalanceLossHasItsOwnChoice) {
  const arch::Dims dims = dims_of(4, 2, 2, 1);
  const Outcome o = route(dims, logits_of({0.9, 0.1, 0.8, 0.2}), {0, 1, 0, -1}, 1.0);
  EXPECT_EQ(o.expert, (Ids{0, 1}));
  EXPECT_EQ(o.f, (Values{2, 0, 2, 0})); // experts 0 and 2 are the unbiased best: E / (K T) = 2
  EXPECT_EQ(o.load, (std::vector<std::int64_t>{1, 1, 0, 0}));
  EXPECT_NEAR(o.balance, 2 * 0.9 / 2.0 + 2 * 0.8 / 2.0, 1e-6);
}

// Where every expert is equally good, f = 1 and the loss is alpha.
TEST(RouterTraps, EvenLoadGivesAlpha) {
  Values logits;
  for (int t = 0; t < 8; ++t)
    for (int e = 0; e < 8; ++e) logits.push_back(e == t ? 1.0 : -1.0);
  EXPECT_NEAR(route(dims_of(8, 1, 1, 1), logits, Values(8, 0.0), 0.125).balance, 0.125, 1e-7);
}

// Not a number anywhere: ids stay in range and ascend (the step's check of finiteness reports it).
TEST(RouterTraps, NonFiniteScoresStayInRange) {
  for (const double poison : {double(NAN), double(INFINITY), -double(INFINITY)}) {
    Values logits(16, 0.25);
    for (const std::size_t i : {1, 6, 9, 15}) logits[i] = poison;
    const arch::Dims dims = dims_of(16, 4, 4, 2);
    // a weight matrix of zeros and ones turns an infinite input into NaN logits all over: the worst case
    for (const int e : route(dims, logits, Values(16, poison)).expert)
      EXPECT_TRUE(e >= 0 && e < 16);
    const Ids ids = route(dims, logits, Values(16, poison)).expert;
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.end()));
    EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
  }
}

TEST(RouterTraps, ImpossibleChoicesAreRefused) {
  EXPECT_THROW(route(dims_of(8, 5, 4, 2), Values(8, 0.0), Values(8, 0.0)), base::Fault);
  EXPECT_THROW(route(dims_of(9, 2, 4, 2), Values(9, 0.0), Values(9, 0.0)), base::Fault);
}

} // namespace

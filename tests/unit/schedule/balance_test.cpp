// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "schedule/balance.hpp"

namespace {

using schedule::balance;
using Costs = std::vector<std::int64_t>;
using Cut = std::vector<int>;

// All cuts, by recursion.
void all_cuts(int layers, int stages, Cut &cut, std::vector<Cut> &found) {
  if (stages == 1) {
    cut.push_back(layers);
    found.push_back(cut);
    cut.pop_back();
    return;
  }
  for (int n = 1; n + stages - 1 <= layers; ++n) {
    cut.push_back(n);
    all_cuts(layers - n, stages - 1, cut, found);
    cut.pop_back();
  }
}

// What `balance` promises, by trying everything.
Cut best_cut(const Costs &costs, int stages) {
  std::vector<Cut> cuts;
  Cut cut;
  all_cuts(static_cast<int>(costs.size()), stages, cut, cuts);
  const auto worth = [&](const Cut &one) {
    const Costs sums = schedule::stage_costs(costs, one);
    std::int64_t squares = 0;
    for (const std::int64_t sum : sums) squares += sum * sum;
    return std::pair{*std::max_element(sums.begin(), sums.end()), squares};
  };
  Cut best = cuts[0];
  for (const Cut &one : cuts)
    if (worth(one) < worth(best) || (worth(one) == worth(best) && one > best)) best = one;
  return best;
}

TEST(ScheduleBalance, AgainstAllCuts) {
  std::uint64_t state = 7;
  for (int trial = 0; trial < 300; ++trial) {
    const auto draw = [&](std::uint64_t below) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      return static_cast<std::int64_t>((state >> 33) % below);
    };
    Costs costs(1 + static_cast<std::size_t>(draw(10)));
    for (std::int64_t &cost : costs) cost = draw(trial % 2 == 0 ? 4 : 1000);
    const int stages = 1 + static_cast<int>(draw(costs.size()));
    EXPECT_EQ(balance(costs, stages), best_cut(costs, stages)) << "trial " << trial;
  }
}

TEST(ScheduleBalance, PlainCases) {
  EXPECT_EQ(balance({1, 1, 1, 1}, 2), Cut({2, 2}));
  EXPECT_EQ(balance({1, 1, 1, 1, 1}, 2), Cut({3, 2})); // a tie: the earlier stage is longer
  EXPECT_EQ(balance({9, 1, 1, 1}, 2), Cut({1, 3}));
  EXPECT_EQ(balance({5}, 1), Cut({1}));
  EXPECT_EQ(balance({0, 0, 0}, 3), Cut({1, 1, 1}));
}

// DeepSeek-V3: 61 layers and an MTP module in 16 stages, FLOPs of the forward pass of a token (causal, sequence 4096). Activated
// weights from the published shapes: attention 187,107,328, dense FFN 396,361,728, expert 44,040,192 (8 + 1 used), gate
// 1,835,008, head 926,679,040, MTP projection 102,760,448. Attention core: 2 x 128 heads x (128 + 64 + 128) x 2048.
TEST(ScheduleBalance, DeepSeekV3In16Stages) {
  constexpr std::int64_t attention = 2 * 187'107'328LL + 2LL * 128 * (128 + 64 + 128) * 2048;
  constexpr std::int64_t dense = attention + 2 * 396'361'728LL;
  constexpr std::int64_t moe = attention + 2 * (9 * 44'040'192LL + 1'835'008);
  constexpr std::int64_t head = 2 * 926'679'040LL;
  Costs costs(61, moe);
  std::fill(costs.begin(), costs.begin() + 3, dense);
  costs.back() += head + (2 * 102'760'448LL + moe + head); // MTP uses the head once more
  const Cut cut = balance(costs, 16);
  EXPECT_EQ(std::accumulate(cut.begin(), cut.end(), 0), 61);
  const Costs sums = schedule::stage_costs(costs, cut);
  const std::int64_t most = *std::max_element(sums.begin(), sums.end());
  // The last layer with head and MTP costs 4.9 layers and stands alone; 60 layers in 15 stages are 4 each.
  EXPECT_EQ(cut, Cut({4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1}));
  EXPECT_EQ(most, costs.back());
  // Without MTP the head costs 1.4 layers.
  costs.back() = moe + head;
  const Costs plain = schedule::stage_costs(costs, balance(costs, 16));
  EXPECT_EQ(*std::max_element(plain.begin(), plain.end()), 4 * moe);
}

TEST(ScheduleBalance, ExplicitList) {
  EXPECT_NO_THROW(schedule::check_cut({2, 3}, 5, 2, "a.toml:3"));
  EXPECT_NO_THROW(schedule::check_cut({0, 5, 0}, 5, 3, "a.toml:3"));
  for (const Cut &cut : {Cut{2, 2}, Cut{5}, Cut{0, 4}, Cut{6, -1}, Cut{}, Cut{1, 2, 2}}) {
    try {
      schedule::check_cut(cut, 5, 2, "a.toml:3");
      FAIL() << cut.size();
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.number(), "E018");
    }
  }
}

} // namespace

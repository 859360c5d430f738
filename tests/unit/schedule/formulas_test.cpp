// SPDX-License-Identifier: Apache-2.0
// The clock against the published formulas, where they hold and where they do not.
#include <gtest/gtest.h>

#include "programs.hpp"
#include "schedule/formulas.hpp"

namespace {

using namespace schedule_test;
using schedule::build;
using schedule::Costs;
using schedule::Formula;
using schedule::StageCosts;
using schedule::Timeline;

Costs costs_of(double f, double b, double w, double pair, double send = 0) {
  Costs costs;
  costs.stages = {{f, b, w, pair}};
  costs.send = send;
  return costs;
}

// Whole numbers and halves: the sums are exact, and so is the comparison.
TEST(ScheduleFormulas, EqualToTheClock) {
  for (const Size &size : sizes()) {
    const Program program = build(size.kind, size.ranks, size.micro_batches);
    for (const Costs &costs : {costs_of(1, 1, 1, 3), costs_of(1, 1, 1, 2.5), costs_of(4, 4, 3, 8),
                               costs_of(2, 2, 1, 3.5)}) {
      const Timeline line = simulate(program, costs);
      const Formula paper = formula(program, costs.stages[0], 0);
      const bool few = size.kind == Kind::zb1p
                           ? size.micro_batches < size.ranks
                           : size.micro_batches < schedule::whole_pattern(size.kind, size.ranks);
      EXPECT_EQ(paper.exact, !few) << name(size);
      if (!few) {
        EXPECT_EQ(line.largest_bubble(), paper.bubble) << name(size);
      }
      EXPECT_EQ(line.most_activations(), paper.activations) << name(size);
      EXPECT_EQ(line.peak_activations, check(program).peak_activations) << name(size);
      EXPECT_EQ(line.parameter_copies, paper.parameter_copies);
      for (std::size_t rank = 0; rank < line.busy.size(); ++rank)
        EXPECT_EQ(line.busy[rank] + line.bubble[rank], line.makespan) << name(size);
    }
  }
}

// The values of the report's table, written out: PP 8 and F 1, B 2 of which W 1, F&B 3.
TEST(ScheduleFormulas, TableOfTheReport) {
  const Costs costs = costs_of(1, 1, 1, 3);
  const auto bubble = [&](Kind kind, int ranks, int micro_batches) {
    return simulate(build(kind, ranks, micro_batches), costs).largest_bubble();
  };
  EXPECT_EQ(bubble(Kind::one_f_one_b, 8, 20), 7 * (1 + 2));
  EXPECT_EQ(bubble(Kind::zb1p, 8, 20), 7 * (1 + 2 - 2 * 1));
  EXPECT_EQ(bubble(Kind::dualpipe, 8, 20), 3 * (3 + 2 - 3 * 1));
  EXPECT_EQ(bubble(Kind::dualpipev, 4, 20), 3 * (3 + 2 - 3 * 1));
  for (const int n : {16, 18, 64, 400}) // it does not grow with the micro-batches
    EXPECT_EQ(bubble(Kind::dualpipe, 8, n), 6);
}

// The stated conditions are the exact ones: on a grid of costs the formula holds for all sizes tried if and only if they do.
TEST(ScheduleFormulas, ConditionsAreSharp) {
  const std::vector<Size> pipes = {
      {Kind::one_f_one_b, 2, 4}, {Kind::one_f_one_b, 4, 9}, {Kind::zb1p, 2, 2},
      {Kind::zb1p, 4, 4},        {Kind::zb1p, 4, 9},        {Kind::dualpipe, 4, 8},
      {Kind::dualpipe, 8, 18},   {Kind::dualpipev, 2, 5},   {Kind::dualpipev, 4, 8}};
  std::map<Kind, int> exact, other;
  std::vector<Program> programs;
  for (const Size &size : pipes)
    programs.push_back(build(size.kind, size.ranks, size.micro_batches));
  for (const Kind kind : {Kind::one_f_one_b, Kind::zb1p, Kind::dualpipe, Kind::dualpipev})
    for (int f = 1; f <= 4; ++f)
      for (int b = 1; b <= 4; ++b)
        for (int w = 1; w <= 4; ++w)
          for (int pair = std::max(f, b + w); pair <= f + b + w; ++pair) {
            bool equal = true, stated = true;
            for (const Program &program : programs) {
              if (program.kind != kind) continue;
              const Costs costs = costs_of(f, b, w, pair);
              const Formula paper = formula(program, costs.stages[0], 0);
              equal = equal && simulate(program, costs).largest_bubble() == paper.bubble;
              stated = stated && paper.exact;
            }
            EXPECT_EQ(equal, stated)
                << word(kind) << ' ' << f << ' ' << b << ' ' << w << ' ' << pair;
            ++(equal ? exact : other)[kind];
          }
  EXPECT_EQ(other[Kind::one_f_one_b], 0);
  EXPECT_GT(other[Kind::zb1p], 0);
  EXPECT_GT(exact[Kind::dualpipe], 20);
  EXPECT_GT(other[Kind::dualpipe], 100);
}

TEST(ScheduleClock, MessagesTakeTime) {
  // Two ranks, one micro-batch: F, message, F, B, message, B.
  Timeline line = simulate(build(Kind::one_f_one_b, 2, 1), costs_of(1, 1, 1, 3, 0.5));
  EXPECT_EQ(line.makespan, 1 + 0.5 + 1 + 2 + 0.5 + 2);
  EXPECT_EQ(line.waiting, (std::vector<double>{4, 1.5}));
  EXPECT_EQ(line.bubble, (std::vector<double>{4, 4}));
  // Behind one rank's work a message is hidden: 1f1b on two ranks waits for it at the ends only.
  const Program program = build(Kind::one_f_one_b, 2, 8);
  line = simulate(program, costs_of(1, 1, 1, 3, 0.25));
  EXPECT_FALSE(formula(program, {1, 1, 1, 3}, 0.25).exact);
  EXPECT_GT(line.makespan, simulate(program, costs_of(1, 1, 1, 3)).makespan);
}

TEST(ScheduleClock, StagesOfDifferentCost) {
  Costs costs;
  costs.stages = {{1, 1, 1, 3}, {2, 2, 2, 6}};
  const Program program = build(Kind::one_f_one_b, 2, 4);
  const Timeline line = simulate(program, costs);
  EXPECT_EQ(line.busy, (std::vector<double>{12, 24}));
  EXPECT_EQ(line.makespan, 1 + 24 + 2); // the slow stage works without a pause
  // A pair of two stages saves what the smaller saving is: 3 + 6 of the parts less 1.
  costs.stages = {{1, 1, 1, 2}, {2, 2, 2, 3}};
  const Program dual = build(Kind::dualpipe, 2, 4);
  const Action pair{Verb::overlap, {0, 0, 0}, {1, 2, 1}};
  EXPECT_EQ(costs.of(dual, 0, pair), 1 + 4 - 1);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// The bits of a training do not depend on how many ranks work on it, nor on how they share it: losses, gradient norms, expert loads
// and the whole state after some steps, on one rank and on many (reproducible = "any_layout").
#include <gtest/gtest.h>

#include <fmt/format.h>

#include "tests/support/mpirun.hpp"
#include "tests/support/process.hpp"

namespace {

using Words = std::vector<std::string>;

std::string run(int ranks, const Words &settings) {
  Words words = {HADAL_TRAINER, HADAL_SOURCE_DIR "/input/pretrain/tiny.toml", "3"};
  words.insert(words.end(), settings.begin(), settings.end());
  const auto outcome =
      ranks == 1 ? support::run(words) : support::run(support::mpirun(ranks, words));
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("state "), std::string::npos) << outcome.output;
  return outcome.output;
}

struct Layout {
  int ranks;
  Words settings;
};
Words pipeline(int pp, const char *schedule, int dp = 1, int ep = 1) {
  return {fmt::format("parallel.pp={}", pp), fmt::format("parallel.schedule={}", schedule),
          fmt::format("parallel.dp={}", dp), fmt::format("parallel.ep={}", ep)};
}
Words data(int dp, int ep = 1) {
  return {fmt::format("parallel.dp={}", dp), fmt::format("parallel.ep={}", ep)};
}

void expect_same(const Words &model, const std::vector<Layout> &layouts) {
  const std::string expected = run(1, model);
  for (const Layout &layout : layouts) {
    Words settings = model;
    settings.insert(settings.end(), layout.settings.begin(), layout.settings.end());
    std::string name;
    for (const auto &word : settings) name += word + " ";
    EXPECT_EQ(run(layout.ranks, settings), expected) << name;
  }
}

// Five layers, so that four stages have a block each.
const Words kFive = {"model.layers=5"};
Words with(Words words, const Words &more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Layouts, DataAndExpertParallel) {
  expect_same({}, {{2, data(2)},
                   {4, data(4)},
                   {2, data(2, 2)},
                   {4, data(4, 4)},
                   {4, with(data(4, 2), {"parallel.ranks_per_node=2"})}});
}

// An expert group on several nodes: auto takes two hops.
TEST(Layouts, WaysBetweenExpertRanks) {
  const auto on_nodes = [](int ranks, const char *way) {
    return with(data(4, 4), {fmt::format("parallel.ranks_per_node={}", ranks),
                             fmt::format("parallel.dispatch={}", way)});
  };
  expect_same({}, {{4, on_nodes(2, "auto")},
                   {4, on_nodes(2, "direct")},
                   {4, on_nodes(1, "two_hop")},
                   {4, on_nodes(2, "reference")},
                   {8, with(pipeline(2, "dualpipe", 4, 4), {"parallel.ranks_per_node=2"})}});
}

// What is rounded on its way between ranks is rounded on one rank too.
TEST(Layouts, FormatsOfDispatchAndCombine) {
  const Words narrow = {"precision.dispatch=bf16", "precision.combine=bf16"},
              wide = {"precision.compute=bf16", "precision.combine=f32"};
  const Words two_hops = with(data(4, 4), {"parallel.ranks_per_node=2"});
  expect_same(narrow, {{2, data(2, 2)}, {4, two_hops}});
  expect_same(wide, {{2, data(2, 2)}, {4, two_hops}});
  EXPECT_NE(run(1, narrow), run(1, {}));
  EXPECT_NE(run(1, {"precision.dispatch=bf16"}), run(1, narrow));
  EXPECT_NE(run(1, wide), run(1, {"precision.compute=bf16"}));
}

TEST(Layouts, Pipelines) {
  std::vector<Layout> layouts;
  for (const char *schedule : {"1f1b", "zb1p", "dualpipe"})
    for (const int pp : {2, 4}) layouts.push_back({pp, pipeline(pp, schedule)});
  layouts.push_back({2, pipeline(2, "dualpipev")});
  expect_same(kFive, layouts);
}

// Stages by a list: some have no layers, wherever they stand.
TEST(Layouts, ListedStages) {
  const auto listed = [](int pp, const char *schedule, const char *stages) {
    return with(pipeline(pp, schedule), {fmt::format("parallel.stages={}", stages)});
  };
  expect_same(kFive, {{2, listed(2, "1f1b", "[5,0]")},
                      {4, listed(4, "zb1p", "[0,3,0,2]")},
                      {4, listed(4, "dualpipe", "[2,0,3,0]")},
                      {2, listed(2, "dualpipev", "[0,4,0,1]")}});
}

// Fewer micro-batches than the whole pattern of DualPipe needs: 4 on 4 ranks, 2 and 6 (a ramp) on 2 and 4.
TEST(Layouts, FewMicroBatches) {
  const Words few = {"parallel.shards=4", "batch.global_batch=4"};
  expect_same(with(kFive, few), {{4, pipeline(4, "dualpipe")}, {2, pipeline(2, "dualpipev")}});
  const Words ramp = {"parallel.shards=2", "batch.global_batch=6", "batch.start=2",
                      "batch.ramp_tokens=800"};
  expect_same(with(kFive, ramp), {{4, pipeline(4, "dualpipe")}, {2, pipeline(2, "dualpipe")}});
}

TEST(Layouts, EverythingTogether) {
  expect_same(kFive, {{4, pipeline(2, "dualpipe", 2, 2)}, {8, pipeline(2, "dualpipe", 4, 2)}});
}

// bf16 with its moments, a batch ramp and the average of the weights.
TEST(Layouts, Bf16WithRampAndAverage) {
  expect_same(with(kFive, {"precision.compute=bf16", "optimizer.moments=bf16", "average.beta=0.9",
                           "batch.start=8", "batch.ramp_tokens=1500"}),
              {{2, data(2, 2)}, {4, pipeline(2, "dualpipe", 2, 2)}, {4, pipeline(4, "zb1p")}});
}

TEST(Layouts, RecomputedWithTwoModulesBeforeTheNorm) {
  expect_same(with(kFive, {"recompute.norms=true", "recompute.swiglu=true", "mtp.depth=2",
                           "mtp.hidden=pre_norm", "model.attention.q_rank=0"}),
              {{2, data(2, 2)}, {2, pipeline(2, "zb1p")}, {4, pipeline(4, "dualpipe")}});
}

// Tables of more than one block: replicas own pieces that begin inside a tensor.
TEST(Layouts, TensorsThatAreCut) {
  const Words wide = {"model.vocabulary=9000", "batch.global_batch=8"};
  expect_same(wide, {{4, pipeline(2, "dualpipe", 2)}});
  expect_same(with(wide, {"precision.compute=bf16", "average.beta=0.9"}), {{2, data(2)}});
}

// The comparison can fail: one rank's share of the law of sums is not another's.
TEST(Layouts, AnotherNumberOfShardsIsSeen) { EXPECT_NE(run(1, {"parallel.shards=4"}), run(1, {})); }

} // namespace

// SPDX-License-Identifier: Apache-2.0
// hadal bench in tiny form: the tables are whole, on one rank and on several; what cannot be measured is refused.
#include <gtest/gtest.h>

#include <regex>

#include "tests/support/process.hpp"
#ifdef HADAL_MPIRUN
#include "tests/support/mpirun.hpp"
#endif

namespace {

using support::hadal;
using support::Outcome;
using Words = std::vector<std::string>;

const std::string kDeck = HADAL_SOURCE_DIR "/input/pretrain/tiny.toml";

Words bench(const Words &more) {
  Words words = {hadal(), "bench"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}
Words train(const Words &more) {
  Words words = {"train", "--deck", kDeck, "--steps", "2"};
  words.insert(words.end(), more.begin(), more.end());
  return bench(words);
}

// Lines that match; every one of them has a rate above 0.
int count(const std::string &text, const std::string &pattern) {
  const std::regex expression(pattern);
  return static_cast<int>(std::distance(std::sregex_iterator(text.begin(), text.end(), expression),
                                        std::sregex_iterator()));
}

TEST(Bench, TrainOnOneRank) {
  const Outcome o = support::run(train({"precision.compute=f32", "mtp.depth=1"}));
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_EQ(count(o.output, "MTP 1, 1 rank x 1 thread \\(dp 1, ep 1, pp 1, any_layout"), 1)
      << o.output;
  EXPECT_EQ(count(o.output, "; [1-9][0-9]* tokens/s\n"), 1) << o.output;
  EXPECT_EQ(count(o.output, "layers::experts::forward::down"), 1) << o.output;
  EXPECT_EQ(count(o.output, "outside kernels"), 1) << o.output;
}

TEST(Bench, SettingsBesideEachOther) {
  const Outcome o =
      support::run(train({"batch.sequence=64", "--against", "run.reproducible=same_layout",
                          "--against", "precision.compute=bf16 batch.sequence=32"}));
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_EQ(count(o.output, "\n  batch.sequence=64 +[0-9.]+ +[1-9][0-9]* +1.000 "), 1) << o.output;
  EXPECT_EQ(count(o.output, "\n  run.reproducible=same_layout +[0-9.]+ +[1-9][0-9]* +[0-9.]+ "), 1)
      << o.output;
  EXPECT_EQ(count(o.output, "\n  precision.compute=bf16 batch.sequence=32 +[0-9.]+ +[1-9][0-9]* "),
            1)
      << o.output;
}

TEST(Bench, Checkpoint) {
  const support::Scratch scratch;
  const Outcome o = support::run(
      bench({"checkpoint", "--mebibytes", "8", "--directory", scratch.path().string()}));
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_EQ(count(o.output,
                  "\n(plain file|checkpoint|copy in memory|state hash)[^\n]* [0-9.]+ +[0-9.]+ "),
            6)
      << o.output;
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

TEST(Bench, AFolderThatCannotBeWrittenIsNamed) {
  const Outcome o = support::run(bench({"checkpoint", "--directory", "/proc/nothing"}));
  EXPECT_EQ(o.code, 5) << o.output;
  EXPECT_EQ(count(o.output, "\\[E201\\]"), 1) << o.output;
}

TEST(Bench, WhatCannotBeMeasuredIsRefused) {
  for (const Words &words : {Words{"dispatch"}, Words{"dispatsh"}}) {
    const Outcome o = support::run(bench(words));
    EXPECT_EQ(o.code, 2) << o.output;
    EXPECT_EQ(count(o.output, "\\[E010\\]"), 1) << o.output;
  }
}

#ifdef HADAL_MPIRUN
TEST(Bench, TrainOnTwoRanks) {
  const Outcome o = support::run(
      support::mpirun(2, train({"parallel.dp=2", "--against", "parallel.ep=2", "--against",
                                "parallel.dp=1 parallel.pp=2 parallel.schedule=dualpipe"})));
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_EQ(count(o.output, "2 ranks x 1 thread\n"), 1) << o.output;
  EXPECT_EQ(count(o.output, "\n  parallel[^\n]* +[0-9.]+ +[1-9][0-9]* +[0-9.]+ "), 3) << o.output;
}

TEST(Bench, AnotherNumberOfRanksIsRefused) {
  const Outcome o = support::run(support::mpirun(2, train({"parallel.dp=4"})));
  EXPECT_EQ(o.code, 3) << o.output;
  EXPECT_EQ(count(o.output, "\\[E077\\]"), 1) << o.output;
}

TEST(Bench, Dispatch) {
  for (const int ranks : {2, 4}) {
    const Outcome o = support::run(
        support::mpirun(ranks, bench({"dispatch", "--tokens", "64", "--rounds", "2"})));
    EXPECT_EQ(o.code, 0) << o.output;
    EXPECT_EQ(count(o.output, "\n  MPI_Alltoallv[^\n]* [0-9.]+ +[0-9.]+ +\\(limit\\)\n"), 2)
        << o.output;
    EXPECT_EQ(count(o.output, "\n  dispatch and combine, (direct|two hops)[^\n]* [0-9]+ %"), 4)
        << o.output;
  }
}

TEST(Bench, CheckpointOfManyWriters) {
  const support::Scratch scratch;
  const Outcome o = support::run(support::mpirun(
      2, bench({"checkpoint", "--mebibytes", "16", "--directory", scratch.path().string()})));
  EXPECT_EQ(o.code, 0) << o.output;
  EXPECT_EQ(count(o.output, ", 2 writers"), 1) << o.output;
  EXPECT_EQ(count(o.output, "\n(plain files|checkpoint of all)[^\n]* [0-9.]+ +[0-9.]+ "), 4)
      << o.output;
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}
#endif

} // namespace

// SPDX-License-Identifier: Apache-2.0
// hadal run on many ranks, wrongly used: one clear message, the right exit code, no rank that waits for ever.
#include <chrono>

#include "tests/support/many_ranks.hpp"

namespace {

using support::count, support::holds, support::layout, support::Layout, support::Outcome;
using support::Words;
using support::operator+;

class WrongUse : public support::ManyRanks {
protected:
  // Each rank runs its own shell words, with $RANK set; "$@" is the program with its arguments.
  static Outcome each(int ranks, const std::string &shell, const Words &command) {
    return support::run(
        support::mpirun(ranks,
                        Words{"sh", "-c", "RANK=$OMPI_COMM_WORLD_RANK; " + shell, "sh"} + command),
        tiny->folder(), 200);
  }
  static void expect_told(const Outcome &outcome, int code, const std::string &number,
                          int times = 1) {
    EXPECT_FALSE(outcome.timed_out) << outcome.output;
    EXPECT_EQ(outcome.code, code) << outcome.output;
    EXPECT_EQ(count(outcome.output, "[" + number + "]"), times) << outcome.output;
  }
};

TEST_F(WrongUse, NumbersOfRanks) {
  const auto few = support::run(tiny->command("few", {"parallel.dp=2"}), tiny->folder());
  expect_told(few, 3, "E077");
  EXPECT_TRUE(holds(few.output, "mpirun -np 2")) << few.output;
  expect_told(support::run(support::mpirun(3, tiny->command("many", {"parallel.dp=2"})),
                           tiny->folder(), 200),
              3, "E077");
}

// All ranks find the same fault: it is told once, whether it stands in the deck or shows later.
TEST_F(WrongUse, LayoutsThatDoNotFit) {
  struct Case {
    Words settings;
    const char *number;
  };
  for (const auto &[settings, number] : std::vector<Case>{
           {{"parallel.dp=2", "model.vocabulary=400"}, "E028"},
           {{"parallel.dp=2", "parallel.ep=4"}, "E014"},
           {{"parallel.pp=2"}, "E015"},
           {{"parallel.pp=2", "parallel.schedule=dualpipe", "parallel.shards=1"}, "E023"},
           {{"parallel.dp=2", "parallel.shards=3"}, "E023"},
           {{"parallel.dp=2", "batch.global_batch=12"}, "E020"}}) {
    SCOPED_TRACE(settings.back());
    expect_told(
        support::run(support::mpirun(2, tiny->command("fit", settings)), tiny->folder(), 200), 2,
        number);
  }
}

TEST_F(WrongUse, OneRankHasAnotherDeck) {
  const auto outcome =
      each(4, "if [ $RANK = 2 ]; then set -- \"$@\" rate.peak=1e-3; fi; exec \"$@\"",
           tiny->command("decks", layout(4).settings));
  expect_told(outcome, 3, "E090");
  EXPECT_TRUE(holds(outcome.output, "rank 2: [rate] peak = 0.001, rank 0: peak = 0.003"))
      << outcome.output;
  EXPECT_FALSE(std::filesystem::exists(at("decks"))) << "begun all the same";
  // Another layout than the others': they would wait for each other in different groups.
  const auto layouts =
      each(4, "if [ $RANK = 3 ]; then set -- \"$@\" parallel.ep=2; fi; exec \"$@\"",
           tiny->command("layouts", {"parallel.dp=4"}));
  expect_told(layouts, 3, "E090");
  EXPECT_TRUE(holds(layouts.output, "rank 3: [parallel] ep = 2, rank 0: ep = 1")) << layouts.output;
}

// On its node the folder is missing, or an older one.
TEST_F(WrongUse, OneRankHasNoDataOrOthers) {
  namespace fs = std::filesystem;
  const auto elsewhere = at("elsewhere");
  fs::create_directories(elsewhere);
  fs::copy(at("tiny.toml"), elsewhere / "tiny.toml");
  const std::string shell = "if [ $RANK = 1 ]; then cd elsewhere; fi; exec \"$@\"";
  const auto missing = each(4, shell, tiny->command("absent", layout(4).settings));
  EXPECT_EQ(missing.code, 6) << missing.output;
  EXPECT_FALSE(missing.timed_out);
  EXPECT_TRUE(holds(missing.output, "error: rank 1: ")) << missing.output;
  EXPECT_TRUE(holds(missing.output, "elsewhere") || holds(missing.output, "checkpoints/data/tiny"))
      << missing.output;
  const auto built = support::run(
      {support::hadal(), "data", "build", "tiny.toml", "data.validation=0.1"}, elsewhere.string());
  ASSERT_EQ(built.code, 0) << built.output;
  expect_told(each(4, shell, tiny->command("stale", layout(4).settings)), 3, "E090");
}

TEST_F(WrongUse, OneRankHasNoDeck) {
  const auto outcome = each(2, "if [ $RANK = 1 ]; then cd /; fi; exec \"$@\"",
                            tiny->command("nodeck", {"parallel.dp=2"}));
  expect_told(outcome, 2, "E001");
}

// A rank that sleeps for good: the others name it at the deadline of the deck.
TEST_F(WrongUse, ADeadlineIsADeadline) {
  const auto begin = std::chrono::steady_clock::now();
  const auto outcome =
      each(2, "if [ $RANK = 1 ]; then (sleep 2; kill -STOP $$) & fi; exec \"$@\"",
           tiny->command("deadline", {"parallel.dp=2", "parallel.deadline=3s", "train.steps=100000",
                                      "train.validate_every=0", "checkpoint.every=0"}));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_EQ(outcome.code, 3) << outcome.output;
  EXPECT_GE(count(outcome.output, "[E078]"), 1) << outcome.output;
  EXPECT_TRUE(holds(outcome.output, "waited 3.0 s")) << outcome.output;
  EXPECT_TRUE(holds(outcome.output, " rank 1 of axis")) << outcome.output;
  EXPECT_LT(took.count(), 2 + 3 + 10);
}

} // namespace

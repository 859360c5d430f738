// SPDX-License-Identifier: Apache-2.0
// Eight ranks of which one is killed or stopped: the others say so and go, nothing stays behind, and four ranks finish the run with the
// bits of an undisturbed one.
#include <random>

#include "tests/parallel/recovery/watched.hpp"

namespace {

using recovery::Clock, recovery::pause, recovery::since, recovery::until, recovery::Watched;
using support::holds, support::layout, support::Layout, support::Words;
using support::operator+;

const Layout kEight = layout(4, 2, 2, "dualpipe"), kFour = layout(2, 2, 2, "zb1p");
const Words kTwenty = {"train.steps=20"};

int setting(const char *name, int otherwise) {
  const char *text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

class Recovery : public support::ManyRanks {
protected:
  static Words program(const Layout &on, const std::string &directory, const Words &more) {
    return tiny->command(directory, support::kWhole + on.settings + more);
  }
  static std::unique_ptr<Watched> eight(const std::string &directory, const Words &more,
                                        bool replaced = true) {
    return std::make_unique<Watched>(8, directory, program(kEight, directory, more), tiny->folder(),
                                     replaced);
  }
  // The state after 20 steps that nobody disturbed.
  static const std::string &undisturbed() {
    static const std::string hash = [] {
      const auto outcome = run(Layout(), "undisturbed", kTwenty);
      EXPECT_EQ(outcome.code, 0) << outcome.output;
      return support::state_hash(outcome.output);
    }();
    return hash;
  }
  static void expect_finished_by_four(const std::string &directory) {
    const auto outcome = run(kFour, directory, kTwenty);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    ASSERT_EQ(undisturbed().size(), 32U);
    EXPECT_EQ(support::state_hash(outcome.output), undisturbed()) << outcome.output;
    EXPECT_EQ(history(directory, false), history("undisturbed", false));
  }
  static bool after_step(Watched &ranks, const std::string &directory, std::size_t step) {
    return until([&] { return steps_of(directory).size() >= step || !ranks.running(); }, 300) &&
           ranks.running();
  }
};

// HADAL_KILLS and HADAL_KILL_SEED: more of them, others.
TEST_F(Recovery, AnyRankIsKilledAtAnyMoment) {
  const int kills = setting("HADAL_KILLS", 3), seed = setting("HADAL_KILL_SEED", 4);
  std::mt19937 random(static_cast<unsigned>(seed));
  for (int attempt = 0; attempt < kills; ++attempt) {
    const std::string directory = "killed" + std::to_string(attempt);
    const int victim = static_cast<int>(random() % 8);
    const std::size_t step = 1 + random() % 15;
    const double later = static_cast<double>(random() % 80) / 1000;
    SCOPED_TRACE("seed " + std::to_string(seed) + ": rank " + std::to_string(victim) + ", step " +
                 std::to_string(step) + " and " + std::to_string(later) + " s");
    const auto ranks = eight(directory, kTwenty + Words{"checkpoint.every=2"});
    ASSERT_TRUE(after_step(*ranks, directory, step)) << ranks->wait(1).output;
    pause(later);
    ASSERT_TRUE(ranks->signal(victim, SIGKILL));
    const auto begin = Clock::now();
    EXPECT_TRUE(until([&] { return ranks->all_told(victim); }, 5));
    const double told = since(begin);
    const auto ended = ranks->wait(200);
    EXPECT_FALSE(ended.timed_out);
    EXPECT_EQ(ended.code, 128 + SIGKILL) << ended.output; // the launcher's, of the dead rank
    for (int r = 0; r < 8; ++r)
      if (r != victim)
        EXPECT_TRUE(holds(ranks->errors(r), "(world rank " + std::to_string(r) + ", node"))
            << r << "\n"
            << ended.output;
    EXPECT_TRUE(ranks->no_orphans());
    std::printf(
        "seed %d: rank %d killed %.3f s after step %zu (%zu steps done); all seven had told "
        "after %.2f s, all were gone after %.2f s\n",
        seed, victim, later, step, steps_of(directory).size(), told, since(begin));
    expect_finished_by_four(directory);
  }
}

// Before the first step: in the start of MPI, of the writers, of the data.
TEST_F(Recovery, ARankIsKilledDuringTheStart) {
  const auto ranks = eight("start", kTwenty);
  ASSERT_TRUE(until([&] { return recovery::ranks_of("start").size() == 8; }, 30));
  pause(0.1);
  ASSERT_TRUE(ranks->signal(6, SIGKILL));
  const auto ended = ranks->wait(200);
  EXPECT_FALSE(ended.timed_out) << ended.output;
  EXPECT_NE(ended.code, 0);
  EXPECT_TRUE(ranks->no_orphans());
  EXPECT_TRUE(steps_of("start").empty());
  expect_finished_by_four("start");
}

TEST_F(Recovery, ARankThatIsStoppedForFiveSecondsIsWaitedFor) {
  const auto ranks = eight("paused", kTwenty);
  ASSERT_TRUE(after_step(*ranks, "paused", 4));
  ASSERT_TRUE(ranks->signal(3, SIGSTOP));
  pause(5);
  ASSERT_TRUE(ranks->signal(3, SIGCONT));
  const auto ended = ranks->wait(200);
  EXPECT_EQ(ended.code, 0) << ended.output;
  EXPECT_EQ(support::state_hash(ended.output), undisturbed()) << ended.output;
  double longest = 0;
  for (const auto &seconds : support::column(at("paused/history.csv"), "step_seconds"))
    longest = std::max(longest, std::stod(seconds));
  EXPECT_GT(longest, 4.5);
}

// What survivors did that were asked to stop while rank 5 slept.
void expect_no_checkpoint(Watched &ranks, const support::Outcome &ended,
                          const std::set<std::string> &before, const std::set<std::string> &after) {
  EXPECT_FALSE(ended.timed_out);
  // One that was under way may be given up and cleared away; none is begun, none that was done is lost.
  for (const auto &name : after) EXPECT_TRUE(before.contains(name)) << name;
  for (const auto &name : before)
    EXPECT_TRUE(after.contains(name) || holds(name, ".partial")) << name;
  int by_themselves = 0;
  for (int r = 0; r < 8; ++r) {
    if (r == 5) continue;
    EXPECT_TRUE(holds(ranks.errors(r), "(world rank " + std::to_string(r) + ", node")) << r;
    EXPECT_TRUE(holds(ranks.errors(r), "asked to stop")) << r << "\n" << ranks.errors(r);
    EXPECT_FALSE(holds(ranks.errors(r), "checkpoint of step")) << ranks.errors(r);
    // Open MPI kills the rest as soon as the first has left: not each can give its code.
    const auto code = ranks.code(r);
    if (code) EXPECT_TRUE(*code == 3 || *code == 128 + SIGKILL) << *code;
    by_themselves += code == 3;
  }
  EXPECT_GE(by_themselves, 1) << ended.output;
  EXPECT_TRUE(holds(ended.output, "No checkpoint is begun")) << ended.output;
  EXPECT_TRUE(ranks.no_orphans());
}

// Waits until the others have told and gone. Seconds until they had told.
double seconds_to_tell(Watched &ranks, const std::string &directory) {
  const auto begin = Clock::now();
  EXPECT_TRUE(until([&] { return ranks.all_told(5); }, 10));
  const double told = since(begin);
  until([&] { return recovery::ranks_of(directory).size() <= 1; }, 5);
  return told;
}

// SIGTERM to the ranks themselves, as a batch system does.
TEST_F(Recovery, SigtermWhileARankIsOverdueBeginsNoCheckpoint) {
  const auto ranks = eight("overdue", kTwenty + Words{"checkpoint.every=3"}, false);
  ASSERT_TRUE(after_step(*ranks, "overdue", 4));
  ASSERT_TRUE(ranks->signal(5, SIGSTOP));
  pause(1.5); // what was under way is done, everybody waits
  const auto before = checkpoints("overdue");
  for (int r = 0; r < 8; ++r)
    if (r != 5) ranks->signal(r, SIGTERM);
  const double told = seconds_to_tell(*ranks, "overdue");
  EXPECT_LT(told, 1.0);
  const auto ended = ranks->wait(200);
  std::printf("all seven had told %.2f s after SIGTERM to them; exit code %d\n", told, ended.code);
  expect_no_checkpoint(*ranks, ended, before, checkpoints("overdue"));
  expect_finished_by_four("overdue");
}

// The same by way of the launcher, which first wakes what is stopped and sends SIGTERM about a second later.
TEST_F(Recovery, ATerminatedLauncherWhileARankHangsBeginsNoCheckpoint) {
  const auto ranks = eight("hung", kTwenty + Words{"checkpoint.every=3"}, false);
  ASSERT_TRUE(after_step(*ranks, "hung", 4));
  std::set<std::string> before;
  {
    const recovery::Hung hung(recovery::ranks_of("hung").at(5));
    if (!hung.hangs()) GTEST_SKIP() << "processes cannot be traced here";
    pause(1.5);
    before = checkpoints("hung");
    ranks->signal_launcher(SIGTERM);
    const double told = seconds_to_tell(*ranks, "hung");
    EXPECT_LT(told, 3.0);
    std::printf("all seven had told %.2f s after SIGTERM to the launcher\n", told);
  }
  const auto ended = ranks->wait(200);
  EXPECT_NE(ended.code, 0);
  expect_no_checkpoint(*ranks, ended, before, checkpoints("hung"));
  expect_finished_by_four("hung");
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Ranks that die, hang, fail or are stopped for a while: the others say so in time, and no process stays behind.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include "tests/support/mpirun.hpp"
#include "tests/support/process.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool holds(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

// A run of the victim, once all of its ranks have begun.
class Victims {
public:
  Victims(int ranks, const std::string &mode, double deadline, long rounds)
      : Victims(ranks, {HADAL_VICTIM}, mode, deadline, rounds) {}
  // program: the victim, or a command that starts it.
  Victims(int ranks, std::vector<std::string> program, const std::string &mode, double deadline,
          long rounds)
      : ranks_(ranks),
        child_(support::mpirun(
            ranks, with(std::move(program), {mode, folder_.path().string(),
                                             std::to_string(deadline), std::to_string(rounds)}))) {
    const auto begin = Clock::now();
    for (int r = 0; r < ranks; ++r)
      while (!std::filesystem::exists(folder_.path() / ("ready" + std::to_string(r))) &&
             since(begin) < 30)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (int r = 0; r < ranks; ++r)
      pids_.push_back(std::atoi(support::read_text(folder_ / ("pid" + std::to_string(r))).c_str()));
    std::this_thread::sleep_for(std::chrono::milliseconds(150)); // into the rounds
  }
  void signal(int rank, int number) { kill(pids_.at(static_cast<std::size_t>(rank)), number); }
  void signal_launcher(int number) { child_.signal(number); }
  // The output is what the launcher passed on and every rank's own log.
  support::Outcome wait(double seconds) {
    auto out = child_.wait(seconds);
    left(3);
    for (int r = 0; r < ranks_; ++r)
      out.output += "\n-- log of rank " + std::to_string(r) + ":\n" +
                    support::read_text(folder_ / ("log" + std::to_string(r)));
    return out;
  }
  // Waits up to `seconds` for the last rank to be gone.
  int left(double seconds) {
    const auto begin = Clock::now();
    for (;;) {
      int alive = 0;
      for (const int pid : pids_) alive += pid > 0 && kill(pid, 0) == 0;
      if (alive == 0 || since(begin) > seconds) return alive;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  // What the shells round the ranks wrote.
  std::vector<std::string> exit_codes() const {
    std::vector<std::string> codes;
    for (const auto &entry : std::filesystem::directory_iterator(folder_.path()))
      if (entry.path().filename().string().starts_with("code"))
        codes.push_back(support::read_text(entry.path()));
    std::sort(codes.begin(), codes.end());
    return codes;
  }
  bool all_began() const {
    for (const int pid : pids_)
      if (pid <= 0) return false;
    return pids_.size() == static_cast<std::size_t>(ranks_);
  }

private:
  static std::vector<std::string> with(std::vector<std::string> words,
                                       const std::vector<std::string> &more) {
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  int ranks_;
  support::Scratch folder_;
  support::Child child_;
  std::vector<int> pids_;
};

TEST(Faults, NothingHappens) {
  Victims run(3, "ring", 20, 20);
  const auto out = run.wait(40);
  EXPECT_EQ(out.code, 0) << out.output;
  for (int r = 0; r < 3; ++r)
    EXPECT_TRUE(holds(out.output, "rank " + std::to_string(r) + " done")) << out.output;
  EXPECT_EQ(run.left(1), 0);
}

TEST(Faults, KilledRank) {
  // A shell round each rank tells its exit code; the launcher gives only that of the dead one.
  Victims run(4, {"sh", "-c", "trap : TERM; \"$0\" \"$@\"; echo $? >\"$2/code$$\"", HADAL_VICTIM},
              "ring", 3, 100000);
  ASSERT_TRUE(run.all_began());
  const auto begin = Clock::now();
  run.signal(2, SIGKILL);
  const auto out = run.wait(40);
  EXPECT_LT(since(begin), 8);
  EXPECT_FALSE(out.timed_out) << out.output;
  // Each survivor's own words; rank 3 is the one that waited for the dead.
  for (const int r : {0, 1, 3})
    EXPECT_TRUE(holds(out.output, "rank " + std::to_string(r) + " of axis world (world rank " +
                                      std::to_string(r)))
        << r << "\n"
        << out.output;
  EXPECT_TRUE(holds(out.output, "receive from rank 2 of axis world")) << out.output;
  EXPECT_TRUE(holds(out.output, "ring, micro-batch ")) << out.output;
  // Open MPI kills the rest as soon as the first has left after its SIGTERM: not each can tell.
  int by_themselves = 0;
  for (const std::string &code : run.exit_codes()) {
    EXPECT_TRUE(code == "3\n" || code == "137\n") << code << out.output;
    by_themselves += code == "3\n";
  }
  EXPECT_GE(by_themselves, 1) << out.output;
  EXPECT_EQ(run.left(3), 0);
}

TEST(Faults, SilentRankIsNamedAtTheDeadline) {
  Victims run(3, "never", 1, 100000);
  ASSERT_TRUE(run.all_began());
  const auto begin = Clock::now();
  const auto out = run.wait(40);
  EXPECT_LT(since(begin), 8);
  EXPECT_EQ(out.code, 3) << out.output;
  EXPECT_TRUE(holds(out.output, "receive from rank 2 of axis world (world rank 2, node "))
      << out.output;
  EXPECT_TRUE(holds(out.output, "ring, micro-batch 5, tag 1, 8 of 8 bytes outstanding"))
      << out.output;
  EXPECT_TRUE(holds(out.output, "[E078]")) << out.output;
  EXPECT_EQ(run.left(3), 0);
}

// It computes and does not look: its watchdog speaks for it.
TEST(Faults, BusyRankSpeaksToo) {
  Victims run(2, "busy", 1, 100000);
  ASSERT_TRUE(run.all_began());
  const auto out = run.wait(40);
  EXPECT_EQ(out.code, 3) << out.output;
  EXPECT_TRUE(holds(out.output, "rank 1 of axis world (world rank 1")) << out.output;
  EXPECT_TRUE(holds(out.output, "asked to stop while it was not waiting; the last message was of: "
                                "ring, micro-batch 4"))
      << out.output;
  EXPECT_EQ(run.left(3), 0);
}

TEST(Faults, FailingRankGivesItsExitCode) {
  Victims run(4, "throws", 30, 100000);
  const auto begin = Clock::now();
  const auto out = run.wait(40);
  EXPECT_LT(since(begin), 10);
  EXPECT_EQ(out.code, 6) << out.output;
  EXPECT_TRUE(holds(out.output, "[E112]")) << out.output;
  EXPECT_TRUE(holds(out.output, "receive from rank 1 of axis world")) << out.output;
  EXPECT_TRUE(holds(out.output, "[E079]"))
      << out.output; // within a second of the launcher's SIGTERM
  EXPECT_EQ(run.left(3), 0);
}

TEST(Faults, StoppedForThreeSecondsIsSurvived) {
  Victims run(3, "ring", 20, 100);
  ASSERT_TRUE(run.all_began());
  run.signal(1, SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(3));
  run.signal(1, SIGCONT);
  const auto out = run.wait(40);
  EXPECT_EQ(out.code, 0) << out.output;
  EXPECT_TRUE(holds(out.output, "rank 1 done")) << out.output;
}

TEST(Faults, LauncherKilledLeavesNoOrphans) {
  Victims run(3, "ring", 30, 100000);
  ASSERT_TRUE(run.all_began());
  run.signal_launcher(SIGKILL);
  EXPECT_EQ(run.left(8), 0);
}

TEST(Faults, TerminatedLauncherEndsAll) {
  Victims run(3, "never", 30, 100000);
  ASSERT_TRUE(run.all_began());
  run.signal_launcher(SIGTERM);
  const auto out = run.wait(20);
  EXPECT_FALSE(out.timed_out) << out.output;
  EXPECT_TRUE(holds(out.output, "receive from rank 2 of axis world")) << out.output;
  EXPECT_EQ(run.left(3), 0);
}

} // namespace

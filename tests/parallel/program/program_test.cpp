// SPDX-License-Identifier: Apache-2.0
// hadal run on many ranks: what it leaves on the disk, restart on other layouts, stops, and ranks that are killed.
#include <gtest/gtest.h>

#include <csignal>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

using Words = std::vector<std::string>;

struct Layout {
  const char *name;
  int ranks;
  Words settings;
};
const std::vector<Layout> kLayouts = {
    {"one", 1, {}},
    {"experts", 2, {"parallel.dp=2", "parallel.ep=2"}},
    {"data", 4, {"parallel.dp=4"}},
    {"zb1p", 2, {"parallel.pp=2", "parallel.schedule=zb1p"}},
    {"dualpipe",
     4,
     {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"}},
};

class ManyRanks : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny = new support::TinyRun();
    ASSERT_EQ(tiny->built().code, 0) << tiny->built().output;
  }
  static void TearDownTestSuite() { delete tiny; }
  static Words command(const Layout &layout, const std::string &directory, const Words &more) {
    Words words = tiny->command(directory, {"model.layers=5"});
    words.insert(words.end(), layout.settings.begin(), layout.settings.end());
    words.insert(words.end(), more.begin(), more.end());
    return layout.ranks == 1 ? words : support::mpirun(layout.ranks, words);
  }
  static support::Outcome run(const Layout &layout, const std::string &directory,
                              const Words &more) {
    return support::run(command(layout, directory, more), tiny->folder(), 120);
  }
  static std::string columns(const std::string &directory) {
    std::string all;
    for (const char *name : {"loss", "mtp_loss", "balance_loss", "grad_norm"})
      for (const auto &value : support::column(tiny->at(directory + "/history.csv"), name))
        all += value + " ";
    return all;
  }
  static support::TinyRun *tiny;
};
support::TinyRun *ManyRanks::tiny = nullptr;

TEST_F(ManyRanks, AnyLayoutGoesOnFromAnyOther) {
  const auto whole = run(kLayouts[0], "whole", {"train.steps=5"});
  ASSERT_EQ(whole.code, 0) << whole.output;
  const std::string hash = support::state_hash(whole.output), losses = columns("whole");
  for (const Layout &first : kLayouts) {
    const std::string begun = std::string("begun_") + first.name;
    ASSERT_EQ(run(first, begun, {"train.steps=3"}).code, 0) << first.name;
    for (const Layout &second : kLayouts) {
      const std::string name = std::string(first.name) + "_" + second.name;
      std::filesystem::copy(tiny->at(begun), tiny->at(name),
                            std::filesystem::copy_options::recursive);
      const auto outcome = run(second, name, {"train.steps=5"});
      EXPECT_EQ(outcome.code, 0) << name << "\n" << outcome.output;
      EXPECT_EQ(support::state_hash(outcome.output), hash) << name;
      EXPECT_EQ(columns(name), losses) << name;
      std::filesystem::remove_all(tiny->at(name));
    }
  }
}

TEST_F(ManyRanks, ASignalStopsAllInGoodOrderAndAnotherLayoutFinishes) {
  const Layout &eight = kLayouts[4];
  support::Child child(command(eight, "signal", {"train.steps=400"}), tiny->folder());
  for (int i = 0; i < 600 && columns("signal").size() < 40 && child.running(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  child.signal(SIGUSR1); // mpirun hands it on to all ranks
  const auto stopped = child.wait(60);
  EXPECT_EQ(stopped.code, 75) << stopped.output;
  EXPECT_NE(stopped.output.find("stopped: SIGUSR1"), std::string::npos) << stopped.output;
  const auto steps = support::column(tiny->at("signal/history.csv"), "step");
  const std::string end = std::to_string(std::stol(steps.back()) + 3);
  const auto finished = run(kLayouts[1], "signal", {"train.steps=" + end});
  const auto straight = run(kLayouts[0], "straight", {"train.steps=" + end});
  EXPECT_EQ(finished.code, 0) << finished.output;
  EXPECT_EQ(support::state_hash(finished.output), support::state_hash(straight.output));
}

// Processes of the program (not of its launcher) that work in a directory.
std::vector<int> ranks_of(const std::string &directory) {
  std::vector<int> found;
  for (const auto &entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    if (line.starts_with(support::hadal()) &&
        line.find("run.directory=" + directory + '\0') != std::string::npos)
      found.push_back(std::stoi(name));
  }
  return found;
}

TEST_F(ManyRanks, AKilledRankEndsAllWithADiagnosisAndAnotherLayoutFinishes) {
  const Layout eight{
      "eight",
      8,
      {"parallel.dp=4", "parallel.ep=2", "parallel.pp=2", "parallel.schedule=dualpipe"}};
  for (const std::size_t victim : {0U, 5U}) {
    const std::string directory = "killed_" + std::to_string(victim);
    support::Child child(command(eight, directory, {"train.steps=400", "checkpoint.every=2"}),
                         tiny->folder());
    const auto first = tiny->at(directory + "/checkpoints/step-00000002/DONE");
    for (int i = 0; i < 1200 && !std::filesystem::exists(first) && child.running(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto ranks = ranks_of(directory);
    ASSERT_EQ(ranks.size(), 8U);
    ::kill(ranks[victim], SIGKILL);
    const auto ended = child.wait(60);
    EXPECT_NE(ended.code, 0);
    EXPECT_FALSE(ended.timed_out) << ended.output;
    EXPECT_NE(ended.output.find("asked to stop"), std::string::npos) << ended.output;
    for (int i = 0; i < 100 && !ranks_of(directory).empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_TRUE(ranks_of(directory).empty()) << "orphans";
    const auto steps = support::column(tiny->at(directory + "/history.csv"), "step");
    const std::string end = std::to_string(std::stol(steps.back()) + 2);
    const auto finished = run(kLayouts[4], directory, {"train.steps=" + end});
    const auto straight =
        run(kLayouts[0], "straight_" + std::to_string(victim), {"train.steps=" + end});
    EXPECT_EQ(finished.code, 0) << finished.output;
    EXPECT_EQ(support::state_hash(finished.output), support::state_hash(straight.output));
  }
}

TEST_F(ManyRanks, WrongNumbersOfRanksAreTold) {
  const auto few = support::run(tiny->command("few", {"parallel.dp=2"}), tiny->folder());
  EXPECT_EQ(few.code, 3) << few.output;
  EXPECT_NE(few.output.find("E077"), std::string::npos) << few.output;
  EXPECT_NE(few.output.find("mpirun -np 2"), std::string::npos) << few.output;
  const auto many = support::run(support::mpirun(2, tiny->command("many")), tiny->folder());
  EXPECT_EQ(many.code, 3) << many.output;
  EXPECT_NE(many.output.find("E077"), std::string::npos) << many.output;
}

// All ranks find the same fault: it is told once.
TEST_F(ManyRanks, AFaultOfTheDeckIsToldOnce) {
  const auto outcome = support::run(
      support::mpirun(2, tiny->command("once", {"parallel.dp=2", "model.vocabulary=400"})),
      tiny->folder());
  EXPECT_EQ(outcome.code, 2) << outcome.output;
  const auto first = outcome.output.find("E028");
  EXPECT_NE(first, std::string::npos) << outcome.output;
  EXPECT_EQ(outcome.output.find("E028", first + 1), std::string::npos) << outcome.output;
}

} // namespace

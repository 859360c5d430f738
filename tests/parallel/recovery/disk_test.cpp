// SPDX-License-Identifier: Apache-2.0
// Full disks and damaged files of one writer among eight: named, and the checkpoint before is used.
#include <sched.h>
#include <sys/mount.h>

#include "tests/parallel/recovery/watched.hpp"

namespace {

namespace fs = std::filesystem;
using recovery::Watched;
using support::holds, support::layout, support::Layout, support::Words;
using support::operator+;
using Names = std::set<std::string>;

const Layout kEight = layout(4, 2, 2, "dualpipe"), kFour = layout(4, 4);

class Disks : public support::ManyRanks {
protected:
  // A run of eight with checkpoints of step 5 and 10.
  static void SetUpTestSuite() {
    ManyRanks::SetUpTestSuite();
    const auto begun = run(kEight, "begun", {"train.steps=10", "checkpoint.every=5"});
    ASSERT_EQ(begun.code, 0) << begun.output;
    ASSERT_EQ(checkpoints("begun"), (Names{"step-00000005", "step-00000010"}));
    const auto whole = run(Layout(), "whole", {"train.steps=20"});
    ASSERT_EQ(whole.code, 0) << whole.output;
    hash = support::state_hash(whole.output);
    ASSERT_EQ(hash.size(), 32U);
  }
  static void copy_of_begun(const std::string &name) {
    fs::copy(at("begun"), at(name), fs::copy_options::recursive);
  }
  static support::Outcome finish(const std::string &directory) {
    const auto outcome = run(kFour, directory, {"train.steps=20"});
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_EQ(support::state_hash(outcome.output), hash) << outcome.output;
    EXPECT_EQ(history(directory, false), history("whole", false));
    return outcome;
  }
  static std::string hash;
};
std::string Disks::hash;

// A limit on file sizes of one rank stands for a disk that is full for it alone.
TEST_F(Disks, FullForOneWriter) {
  for (const int victim : {5, 0}) {
    const std::string name = std::to_string(victim), directory = "full" + name;
    SCOPED_TRACE("rank " + name);
    copy_of_begun(directory);
    Watched ranks(
        8, directory,
        tiny->command(directory, support::kWhole + kEight.settings + Words{"train.steps=20"}),
        tiny->folder());
    ASSERT_TRUE(recovery::until([&] { return steps_of(directory).size() > 10; }, 300));
    ASSERT_TRUE(ranks.limit_files(victim, 100'000)); // its part of step 20 is larger
    const auto ended = ranks.wait(200);
    EXPECT_EQ(ended.code, 5) << ended.output;
    // Told by the one that it befell, or by rank 0, which brings the parts together.
    EXPECT_TRUE(holds(ended.output, "[E201]")) << ended.output;
    EXPECT_TRUE(holds(ended.output, "state-0000" + name + ".h5")) << ended.output;
    EXPECT_TRUE(holds(ended.output, "File too large")) << ended.output;
    EXPECT_TRUE(ranks.no_orphans());
    EXPECT_EQ(checkpoints(directory), (Names{"step-00000005", "step-00000010"}));
    EXPECT_TRUE(holds(finish(directory).output, "step-00000010 (step 10"));
  }
}

// A small file system of its own, which goes with this process.
TEST_F(Disks, FullForAll) {
  copy_of_begun("small");
  const auto folder = at("small/checkpoints");
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("none", folder.c_str(), "tmpfs", 0, "size=22m") != 0)
    GTEST_SKIP() << "a file system can be mounted by root only";
  fs::copy(at("begun/checkpoints/step-00000010"), folder / "step-00000010");
  const auto full = run(kEight, "small", {"train.steps=20", "checkpoint.every=15"});
  EXPECT_EQ(full.code, 5) << full.output;
  EXPECT_TRUE(holds(full.output, "[E201]")) << full.output;
  EXPECT_EQ(checkpoints("small"), (Names{"step-00000010"}));
  ASSERT_EQ(::mount("none", folder.c_str(), "tmpfs", MS_REMOUNT, "size=200m"), 0);
  finish("small");
  EXPECT_EQ(::umount(folder.c_str()), 0);
}

TEST_F(Disks, ADamagedFileIsNamedAndTheCheckpointBeforeIsUsed) {
  copy_of_begun("damaged");
  const auto file = at("damaged/checkpoints/step-00000010/state-00003.h5");
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(static_cast<std::streamoff>(fs::file_size(file) / 2));
  const int byte = bytes.peek();
  bytes.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
  bytes.put(static_cast<char>(byte ^ 1));
  bytes.close();
  const Layout &other = kFour;
  const auto asked = support::run(
      support::mpirun(other.ranks,
                      tiny->command("damaged", support::kWhole + other.settings +
                                                   Words{"train.steps=20", "--restart",
                                                         "damaged/checkpoints/step-00000010"})),
      tiny->folder(), 200);
  EXPECT_EQ(asked.code, 5) << asked.output;
  EXPECT_TRUE(holds(asked.output, "E211")) << asked.output;
  EXPECT_TRUE(holds(asked.output, "state-00003.h5")) << asked.output;
  EXPECT_EQ(support::count(asked.output, "E211"), 1) << asked.output;
  const auto finished = finish("damaged");
  EXPECT_TRUE(holds(finished.output, "state-00003.h5")) << finished.output;
  EXPECT_TRUE(holds(finished.output, "step-00000005 (step 5")) << finished.output;
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Writing: beside the training, whole or not at all, within what retention allows.
#include <csignal>
#include <random>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "checkpoint/hdf5_file.hpp"
#include "tests/unit/checkpoint/sample.hpp"

namespace {

using namespace sample;
using Names = std::vector<std::string>;

TEST(Writer, WritesBesideAndTellsBytesAndTime) {
  Scratch scratch;
  State state;
  Writer writer({scratch / "made/here", 2, 0});
  EXPECT_EQ(writer.last_bytes(), 0U);
  writer.start(state.snapshot(1));
  writer.wait();
  EXPECT_FALSE(writer.busy());
  EXPECT_EQ(writer.last_bytes(), fs::file_size(scratch / "made/here/step-00000001/state.h5"));
  EXPECT_GT(writer.last_seconds(), 0);
  writer.start(state.snapshot(2)); // and the destructor waits
}

TEST(Writer, DestructorWaits) {
  Scratch scratch;
  State state;
  { Writer({scratch.path(), 2, 0}).start(state.snapshot(4)); }
  EXPECT_EQ(Reader::open(scratch.path()).verify(), "");
}

TEST(Writer, FaultsOfTheProgramAreFound) {
  Scratch scratch;
  State state;
  Writer writer({scratch.path(), 2, 0});
  const auto refused = [&](const std::function<void(Snapshot &)> &change) {
    Snapshot s = state.snapshot(1);
    change(s);
    EXPECT_THROW(writer.start(s), base::Fault);
  };
  refused([](Snapshot &s) { s.sections[0].items[0].name = "a/b"; });
  refused([](Snapshot &s) { s.sections[0].items[0].name = ""; });
  refused([](Snapshot &s) { s.sections[0].items[0].name = s.sections[0].items[1].name; });
  refused([](Snapshot &s) { s.sections[0].items[0].data = nullptr; });
  refused([](Snapshot &s) { s.sections[1].name = s.sections[0].name; });
  refused([](Snapshot &s) { s.step = -1; });
  writer.wait();
  EXPECT_EQ(names(scratch.path()), Names{});
}

TEST(Writer, FaultIsThrownOnceAndWritingGoesOn) {
  Scratch scratch;
  put(scratch / "run", 1);
  write(scratch / "run/step-00000002.partial", "in the way, but removable");
  State state;
  Writer writer({scratch / "run", 9, 0});
  fs::remove_all(scratch / "run");
  write(scratch / "run", "no folder");
  writer.start(state.snapshot(2));
  std::string text;
  EXPECT_EQ(fault([&] { writer.wait(); }, &text), "E201");
  EXPECT_NE(text.find("run"), std::string::npos) << text;
  EXPECT_EQ(fault([&] { writer.wait(); }), "");
  fs::remove(scratch / "run");
  writer.start(state.snapshot(3));
  EXPECT_EQ(fault([&] { writer.wait(); }), "");
  writer.start(state.snapshot(4));
  fs::permissions(scratch.path(), fs::perms::owner_all);
  EXPECT_EQ(fault([&] { writer.start(state.snapshot(5)); }), ""); // waits for 4
}

TEST(Writer, UnwritableFolder) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  Scratch scratch;
  const auto place = put(scratch / "run", 1);
  fs::permissions(scratch / "run", fs::perms::owner_read | fs::perms::owner_exec);
  State state;
  Writer writer({scratch / "run", 9, 0});
  writer.start(state.snapshot(2));
  EXPECT_EQ(fault([&] { writer.wait(); }), "E201");
  EXPECT_EQ(Reader::open(place).verify(), "");
  fs::permissions(scratch / "run", fs::perms::owner_all);
}

// A limit on file sizes stands for a disk that fills up while HDF5 writes.
TEST(Writer, LimitOnFileSizes) {
  Scratch scratch;
  const auto place = put(scratch.path(), 1);
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  for (const rlim_t most : {rlim_t{0}, rlim_t{1000}, rlim_t{100000}, rlim_t{1500000}}) {
    State state;
    std::string text;
    {
      Writer writer({scratch.path(), 1, 0});
      const rlimit limit = {most, before.rlim_max};
      setrlimit(RLIMIT_FSIZE, &limit);
      writer.start(state.snapshot(2));
      EXPECT_EQ(fault([&] { writer.wait(); }, &text), "E201") << most;
      setrlimit(RLIMIT_FSIZE, &before);
    }
    EXPECT_NE(text.find("File too large"), std::string::npos) << text;
    EXPECT_EQ(names(scratch.path()), Names{"step-00000001"});
    EXPECT_EQ(Reader::open(place).verify(), "");
  }
  EXPECT_EQ(put(scratch.path(), 2).filename(), "step-00000002"); // HDF5 has survived
}

TEST(Writer, FullDisk) {
  Scratch scratch;
  fs::create_directory(scratch / "disk");
  if (mount("tmpfs", (scratch / "disk").c_str(), "tmpfs", 0, "size=6m") != 0)
    GTEST_SKIP() << "no tmpfs can be mounted here";
  const auto place = put(scratch / "disk", 1);
  const auto refuse = [&](const std::string &said) {
    State state;
    Writer writer({scratch / "disk", 1, 0});
    writer.start(state.snapshot(2));
    std::string text;
    EXPECT_EQ(fault([&] { writer.wait(); }, &text), "E201");
    EXPECT_NE(text.find(said), std::string::npos) << text;
    EXPECT_EQ(names(scratch / "disk"), (Names{"ballast", "step-00000001"}));
    EXPECT_EQ(Reader::open(place).verify(), "");
  };
  write(scratch / "disk/ballast", std::string(2 << 20, 'x'));
  refuse("needs 3.3"); // seen beforehand
  // And HDF5 itself on the full disk.
  State state;
  EXPECT_THROW(checkpoint::write_hdf5(scratch / "disk/state.h5", state.sections()),
               checkpoint::Hdf5Failure);
  fs::remove(scratch / "disk/state.h5");
  fs::remove(scratch / "disk/ballast");
  const auto before = fs::space(scratch / "disk").available;
  EXPECT_GT(before, 3U << 20) << "HDF5 holds on to space of the file that failed";
  EXPECT_EQ(put(scratch / "disk", 2).filename(), "step-00000002");
  EXPECT_EQ(umount((scratch / "disk").c_str()), 0) << "a file is still open";
}

TEST(Writer, PartialDirectoriesOfKilledRunsGo) {
  Scratch scratch;
  put(scratch.path(), 1);
  for (const char *name : {"step-00000002.partial", "step-00000001.replaced.partial",
                           "step-00000003.partial-2", "step-00000004.damaged", "mine.partial"})
    write(scratch / name / "state.h5", "x");
  { Writer writer({scratch.path(), 1, 0}); }
  EXPECT_EQ(names(scratch.path()),
            (Names{"mine.partial", "step-00000001", "step-00000004.damaged"}));
}

TEST(Retention, KeepsTheLastAndEveryMth) {
  Scratch scratch;
  for (std::int64_t step = 10; step <= 100; step += 10) put(scratch.path(), step, 2, 40);
  EXPECT_EQ(names(scratch.path()),
            (Names{"step-00000040", "step-00000080", "step-00000090", "step-00000100"}));
}

TEST(Retention, OneWriterOverManySteps) {
  Scratch scratch;
  State state;
  Writer writer({scratch.path(), 3, 0});
  for (std::int64_t step = 1; step <= 6; ++step) writer.start(state.snapshot(step));
  writer.wait();
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000004", "step-00000005", "step-00000006"}));
}

TEST(Retention, DamagedAndForeignOnesStayAndDoNotCount) {
  Scratch scratch;
  put(scratch.path(), 1), put(scratch.path(), 2), put(scratch.path(), 3), put(scratch.path(), 4);
  flip(scratch / "step-00000004/state.h5", 5000);
  flip(scratch / "step-00000002/manifest.json", 50);
  write(scratch / "step-00000000/notes.txt", "mine");
  write(scratch / "notes.txt", "mine");
  put(scratch.path(), 5, 2); // keeps 5 and 3: 4 is no checkpoint any more
  EXPECT_EQ(names(scratch.path()), (Names{"notes.txt", "step-00000000", "step-00000002",
                                          "step-00000003", "step-00000004", "step-00000005"}));
  put(scratch.path(), 6, 2);
  EXPECT_EQ(names(scratch.path()), (Names{"notes.txt", "step-00000000", "step-00000002",
                                          "step-00000004", "step-00000005", "step-00000006"}));
}

TEST(Retention, TruncatedWhileTheWriterLives) {
  Scratch scratch;
  State state;
  Writer writer({scratch.path(), 1, 0});
  writer.start(state.snapshot(1));
  writer.wait();
  fs::resize_file(scratch / "step-00000001/state.h5", 100);
  writer.start(state.snapshot(2));
  writer.wait();
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000001", "step-00000002"}));
}

// A restart from an earlier step: the course that was left must not win the next restart.
TEST(Retention, LaterStepsOfACourseThatWasLeft) {
  Scratch scratch;
  for (const std::int64_t step : {10, 20, 30}) put(scratch.path(), step);
  put(scratch.path(), 15, 1);
  EXPECT_EQ(names(scratch.path()),
            (Names{"step-00000015", "step-00000020.superseded", "step-00000030.superseded"}));
  EXPECT_EQ(Reader::newest(scratch.path())->step(), 15);
}

TEST(Retention, SameStepAgain) {
  Scratch scratch;
  const auto place = put(scratch.path(), 5);
  State state;
  state.alone = 77;
  const auto rewrite = [&] {
    Writer writer({scratch.path(), 2, 0});
    writer.start(state.snapshot(5));
    writer.wait();
    float alone = 0;
    Reader::open(place).read("weights", {{"alone", {}, Type::f32, &alone}}, false);
    return alone;
  };
  EXPECT_EQ(rewrite(), 77);
  EXPECT_EQ(names(scratch.path()), Names{"step-00000005"});
  flip(place / "state.h5", 4000);
  EXPECT_EQ(rewrite(), 77);
  EXPECT_EQ(names(scratch.path()), (Names{"step-00000005", "step-00000005.damaged"}));
  fs::remove(place / "DONE");
  EXPECT_EQ(rewrite(), 77);
  EXPECT_EQ(names(scratch.path()),
            (Names{"step-00000005", "step-00000005.damaged", "step-00000005.damaged-2"}));
}

// A child writes step after step and is killed at some moment: what it had reported stays readable.
TEST(Writer, KilledAtAnyMoment) {
  Scratch scratch;
  std::mt19937 random(3);
  std::int64_t reported = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t child = fork();
    if (child == 0) {
      State state;
      Writer writer({scratch.path(), 1, 0});
      for (std::int64_t step = reported + 1;; ++step) {
        writer.start(state.snapshot(step));
        writer.wait();
        if (::write(channel[1], &step, sizeof(step)) != sizeof(step)) _exit(1);
      }
    }
    close(channel[1]);
    std::int64_t step = 0;
    ASSERT_EQ(::read(channel[0], &step, sizeof(step)), static_cast<ssize_t>(sizeof(step)));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 60000));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    do reported = step;
    while (::read(channel[0], &step, sizeof(step)) == static_cast<ssize_t>(sizeof(step)));
    close(channel[0]);
    const auto newest = Reader::newest(scratch.path());
    ASSERT_TRUE(newest);
    EXPECT_GE(newest->step(), reported);
    EXPECT_LE(newest->step(), reported + 1);
    EXPECT_EQ(newest->compute_state_hash(), newest->state_hash());
    for (const auto &place : Reader::list(scratch.path()))
      EXPECT_EQ(Reader::open(place).verify(), "") << place;
    reported = newest->step();
  }
  { Writer writer({scratch.path(), 1, 0}); }
  for (const auto &name : names(scratch.path()))
    EXPECT_EQ(name.find("partial"), std::string::npos) << name;
}

} // namespace

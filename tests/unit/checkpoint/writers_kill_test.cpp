// SPDX-License-Identifier: Apache-2.0
// Writers in processes of their own, one of which is killed at some moment: the others end with a number, what was reported is there.
#include <csignal>
#include <random>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/checkpoint/many.hpp"

namespace {

using namespace sample;

constexpr Cut kThree = {3, false, 1, 0};
constexpr int kEnded = 42; // E201 or E202

// A process that writes step after step until something fails. Steps done go to `reports`; `ready`: a byte when the writer stands.
pid_t writer_process(const fs::path &directory, int writer, int round, std::int64_t first,
                     int reports, int ready) {
  const pid_t child = fork();
  if (child != 0) return child;
  int code = 0;
  try {
    State state;
    Writer out({directory, 2, 0, writer, 3, 0.8});
    if (::write(ready, "x", 1) != 1) _exit(1);
    for (std::int64_t step = first;; ++step) {
      out.start(part_of(state, step, kThree, writer, "round-" + std::to_string(round)));
      out.wait();
      if (::write(reports, &step, sizeof(step)) != sizeof(step)) _exit(1);
    }
  } catch (const base::UserError &error) {
    code = error.number() == "E201" || error.number() == "E202" ? kEnded : 2;
  } catch (...) {
    code = 3;
  }
  _exit(code);
}

TEST(WritersKilled, OneAtAnyMoment) {
  Scratch scratch;
  std::mt19937 random(5);
  std::int64_t newest = 0;
  for (int round = 0; round < 6; ++round) {
    int reports[2], ready[2];
    ASSERT_EQ(pipe(reports), 0);
    ASSERT_EQ(pipe(ready), 0);
    std::vector<pid_t> children;
    char byte = 0;
    for (int w = 0; w < 3; ++w) { // writer 0 first: it removes what is left of the round before
      children.push_back(
          writer_process(scratch.path(), w, round, newest + 1, reports[1], ready[1]));
      ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    }
    close(reports[1]);
    std::int64_t step = 0, reported = newest;
    if (::read(reports[0], &step, sizeof(step)) == sizeof(step)) reported = step;
    usleep(static_cast<useconds_t>(random() % 150'000));
    const auto victim = static_cast<std::size_t>(round % 3);
    kill(children[victim], SIGKILL);
    for (std::size_t w = 0; w < 3; ++w) {
      int status = 0;
      waitpid(children[w], &status, 0);
      if (w == victim) continue;
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == kEnded) << w << ": " << status;
    }
    while (::read(reports[0], &step, sizeof(step)) == sizeof(step))
      reported = std::max(reported, step);
    close(reports[0]), close(ready[0]), close(ready[1]);
    const auto found = Reader::newest(scratch.path());
    ASSERT_TRUE(found);
    EXPECT_GE(found->step(), reported) << round;
    EXPECT_LE(found->step(), reported + 1) << round;
    EXPECT_EQ(found->compute_state_hash(), found->state_hash());
    for (const auto &place : Reader::list(scratch.path()))
      EXPECT_EQ(Reader::open(place).verify(), "") << place;
    newest = found->step();
  }
  EXPECT_GE(newest, 3);
  { Writer writer({scratch.path(), 2, 0}); }
  for (const auto &name : names(scratch.path()))
    EXPECT_EQ(name.find("partial"), std::string::npos) << name;
}

} // namespace

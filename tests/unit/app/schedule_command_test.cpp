// SPDX-License-Identifier: Apache-2.0
// hadal schedule, as typed.
#include <filesystem>
#include <sstream>

#include <gtest/gtest.h>

#include "app/command_line.hpp"
#include "base/files.hpp"

namespace {

struct Outcome {
  int code;
  std::string out, err;
};

// words: the arguments behind `hadal schedule`, with blanks between them.
Outcome schedule(const std::string &words) {
  std::vector<std::string> arguments = {"schedule"};
  std::istringstream stream(words);
  for (std::string word; stream >> word;) arguments.push_back(word);
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  const int code = app::run_command_line(arguments);
  return {code, ::testing::internal::GetCapturedStdout(), ::testing::internal::GetCapturedStderr()};
}

void expect_in(const std::string &text, const std::string &part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no \"" << part << "\" in\n" << text;
}

TEST(ScheduleCommand, PrintsNumbersAndDrawing) {
  const Outcome outcome = schedule("dualpipe --stages 4 --micro-batches 8 --costs 1,1,1,2.5");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  expect_in(outcome.out, "dualpipe: 4 ranks, 4 stages, 8 micro-batches\ncheck        ok\n");
  expect_in(outcome.out, "(PP/2-1)(F&B + BW - 3W) = 1.5: equal\n");
  expect_in(outcome.out, "activations  5 of a stage");
  expect_in(outcome.out, "parameters   2x");
  expect_in(outcome.out, "\nrank 3  ");
  // The size may be given either way; a V has two stages on each rank.
  EXPECT_EQ(schedule("dualpipev --stages 4 --micro-batches 8").out,
            schedule("dualpipev --ranks 2 --micro-batches 8").out);
  expect_in(schedule("zb1p --ranks 2 --micro-batches 4 --costs 1,1,2").out,
            "= 0: another; exact for W <= F");
  const std::string list = schedule("1f1b --ranks 2 --micro-batches 2 --list --no-drawing").out;
  expect_in(list, "rank 0     2  post gradient of micro-batch 0 from rank 1\n");
  EXPECT_EQ(list.find("rank 0  "), list.find("rank 0     0  F")); // no drawing above it
}

TEST(ScheduleCommand, WritesThePicture) {
  const auto file = std::filesystem::temp_directory_path() / "hadal_schedule_command_test.svg";
  const Outcome outcome =
      schedule("1f1b --stages 3 --micro-batches 4 --no-drawing --svg " + file.string());
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::string picture = base::read_file(file, base::Exit::machine, "E072");
  EXPECT_TRUE(picture.starts_with("<svg "));
  EXPECT_TRUE(picture.ends_with("</svg>\n"));
  std::filesystem::remove(file);
  const Outcome lost = schedule("1f1b --stages 3 --micro-batches 4 --svg /no/such/folder/x.svg");
  EXPECT_EQ(lost.code, 3);
  expect_in(lost.err, "[E072]");
}

TEST(ScheduleCommand, RefusesWhatCannotBe) {
  for (const auto &[words, part] : std::vector<std::pair<std::string, std::string>>{
           {"dualpip --stages 4 --micro-batches 8", "did you mean dualpipe?"},
           {"1f1b --stages 4", "--micro-batches is required"},
           {"1f1b --stages 4 --micro-batches 0", "[E010]"},
           {"1f1b --stages four --micro-batches 8", "[E010]"},
           {"1f1b --micro-batches 8", "[E015]"},
           {"1f1b --stages 4 --ranks 3 --micro-batches 8", "[E015]"},
           {"dualpipe --stages 5 --micro-batches 20", "[E015]"},
           {"dualpipev --stages 5 --micro-batches 20", "[E015]"},
           {"accumulate --stages 2 --micro-batches 2", "[E015]"},
           {"dualpipe --stages 4 --micro-batches 7", "their number must be even"},
           {"dualpipe --stages 4 --micro-batches 9", "must be even"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,1", "[E017]"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,1,1,", "'' is not a number"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,1,-1", "[E017]"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,nan,1", "[E017]"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,1,1,1.5",
            "shorter than one of its halves"},
           {"1f1b --stages 2 --micro-batches 2 --costs 0,0,0", "[E017]"},
           {"1f1b --stages 2 --micro-batches 2 --costs 1,1,1,3,0,0", "6 numbers"},
           {"1f1b --stages 2000 --micro-batches 2", "[E019]"},
           {"1f1b --stages 1000 --micro-batches 65000", "[E019]"}}) {
    const Outcome outcome = schedule(words);
    EXPECT_EQ(outcome.code, 2) << words;
    EXPECT_EQ(outcome.out, "") << words;
    expect_in(outcome.err, part);
  }
}

} // namespace

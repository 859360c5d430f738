// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "programs.hpp"
#include "schedule/draw.hpp"

namespace {

using namespace schedule_test;
using schedule::build;
using schedule::Costs;

std::string text(Kind kind, int ranks, int micro_batches, const Costs &costs = {},
                 int columns = 1000) {
  const Program program = build(kind, ranks, micro_batches);
  return "\n" + draw_text(program, simulate(program, costs), {columns});
}

std::string svg(Kind kind, int ranks, int micro_batches, const Costs &costs = {}) {
  const Program program = build(kind, ranks, micro_batches);
  return draw_svg(program, simulate(program, costs), costs);
}

int count(const std::string &text, const std::string &part) {
  int found = 0;
  for (std::size_t at = 0; (at = text.find(part, at)) != std::string::npos; ++at) ++found;
  return found;
}

TEST(ScheduleText, OneForwardOneBackward) {
  EXPECT_EQ(text(Kind::one_f_one_b, 2, 3), R"(
time    0              5              10
rank 0  F0 F1 .  .  BW0== F2 BW1== .  BW2==
rank 1  .  F0 BW0== F1 BW1== F2 BW2== .  .
)");
}

TEST(ScheduleText, ZeroBubble) {
  EXPECT_EQ(text(Kind::zb1p, 2, 3), R"(
time    0              5
rank 0  F0 F1 .  B0 W0 F2 B1 W1 B2 W2
rank 1  .  F0 B0 F1 B1 W0 F2 B2 W1 W2
)");
}

TEST(ScheduleText, DualPipeV) {
  EXPECT_EQ(text(Kind::dualpipev, 1, 2), R"(
time    0              5              10
rank 0  F0 f0 F1 bw0== f1&BW0== bw1== B1 W1
)");
}

TEST(ScheduleText, LongLinesAreCut) {
  const std::string cut = text(Kind::one_f_one_b, 2, 8, {}, 40);
  EXPECT_NE(cut.find("(the first 10 of 27 columns; all of them need 89 characters)"),
            std::string::npos)
      << cut;
  std::size_t begin = 1;
  for (std::size_t end; (end = cut.find('\n', begin)) != std::string::npos; begin = end + 1)
    EXPECT_LE(end - begin, cut[begin] == '(' ? 80U : 40U) << cut;
}

TEST(ScheduleText, UnitIsTheLargestCommon) {
  Costs costs;
  costs.stages = {{0.5, 1, 1.5, 3}};
  const std::string drawn = text(Kind::accumulate, 1, 1, costs);
  EXPECT_EQ(drawn, "\ntime    0              2.5\nrank 0  F0 BW0===========\n");
}

TEST(ScheduleSvg, EveryComputationIsThere) {
  // Boxes: F 1, BW 2 (its B and its W), legend 3, ground 1.
  EXPECT_EQ(count(svg(Kind::one_f_one_b, 3, 4), "<rect"), 3 * 4 * 3 + 3 + 1);
  EXPECT_EQ(count(svg(Kind::zb1p, 3, 4), "<rect"), 3 * 4 * 3 + 3 + 1);
  EXPECT_EQ(count(svg(Kind::dualpipe, 4, 8), "<rect"), 4 * 8 * 3 + 6 + 1);
  // A number in each of them (they are wide enough here), beside legend, axis, ranks and title.
  EXPECT_GE(count(svg(Kind::dualpipe, 4, 8), "<text"), 4 * 8 * 3 + 6 + 4 + 1);
}

TEST(ScheduleSvg, SameInputSamePicture) {
  EXPECT_EQ(svg(Kind::dualpipe, 4, 12), svg(Kind::dualpipe, 4, 12));
  const std::string picture = svg(Kind::dualpipev, 2, 6);
  EXPECT_EQ(picture.substr(0, 38), "<svg xmlns=\"http://www.w3.org/2000/svg");
  EXPECT_NE(picture.find(">dualpipev: 2 ranks, 4 stages, 6 micro-batches<"), std::string::npos);
  EXPECT_EQ(count(picture, "nan"), 0);
  EXPECT_EQ(count(picture, "inf"), 0);
  EXPECT_EQ(count(picture, "<text"), count(picture, "</text>"));
}

// What docs/schedules.md shows is what the program draws.
TEST(ScheduleDocs, DrawingsAreOurs) {
  const auto read = [](const std::string &name) {
    std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/docs/" + name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string page = read("schedules.md");
  for (const Size &size :
       {Size{Kind::one_f_one_b, 4, 6}, Size{Kind::zb1p, 4, 6}, Size{Kind::dualpipe, 4, 8},
        Size{Kind::dualpipe, 4, 4}, Size{Kind::dualpipev, 2, 4}})
    EXPECT_NE(page.find(text(size.kind, size.ranks, size.micro_batches)), std::string::npos)
        << name(size);
  // The table of short steps.
  Costs costs;
  costs.stages = {{1, 1, 1, 2.5}};
  for (const Kind kind : {Kind::one_f_one_b, Kind::zb1p, Kind::dualpipe}) {
    std::string row = "| " + schedule::word(kind) + " |";
    for (const int n : {2, 8, 16, 24, 32, 64})
      row += fmt::format(" {:g} |", simulate(build(kind, 16, n), costs).makespan);
    EXPECT_NE(page.find(row + "\n"), std::string::npos) << row;
  }
  EXPECT_EQ(read("pictures/schedule_1f1b.svg"), svg(Kind::one_f_one_b, 4, 8));
  EXPECT_EQ(read("pictures/schedule_zb1p.svg"), svg(Kind::zb1p, 4, 8));
  EXPECT_EQ(read("pictures/schedule_dualpipe.svg"), svg(Kind::dualpipe, 8, 20));
  EXPECT_EQ(read("pictures/schedule_dualpipev.svg"), svg(Kind::dualpipev, 4, 10));
}

// The table of bubbles that helps to choose a layout.
TEST(ScheduleDocs, BubblesAreOurs) {
  std::ifstream file(HADAL_SOURCE_DIR "/docs/parallelism.md");
  const std::string page(std::istreambuf_iterator<char>(file), {});
  Costs costs;
  costs.stages = {{1, 1, 1, 3}};
  for (const Kind kind : {Kind::one_f_one_b, Kind::zb1p, Kind::dualpipe, Kind::dualpipev})
    for (const int ranks : {4, 8, 16}) {
      std::string row = fmt::format("| {} | {} |", schedule::word(kind), ranks);
      for (const int each : {1, 2, 4, 8}) {
        const auto line = simulate(build(kind, ranks, each * ranks), costs);
        row += fmt::format(" {:.0f} % |", 100 * line.largest_bubble() / line.makespan);
      }
      EXPECT_NE(page.find(row + "\n"), std::string::npos) << row;
    }
}

TEST(ScheduleSvg, LongTimelinesKeepABound) {
  const std::string picture = svg(Kind::dualpipe, 4, 2000);
  const std::string width = picture.substr(picture.find("width=\"") + 7, 6);
  EXPECT_LE(std::stod(width), 16200);
}

} // namespace

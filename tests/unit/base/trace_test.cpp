// SPDX-License-Identifier: Apache-2.0
// Traces: what is hidden, by spans made by hand, and the file that viewers open.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/trace.hpp"

namespace {

using base::Lane;
using base::Trace;
using nlohmann::json;

Trace of(const std::vector<std::pair<double, double>> &flights,
         const std::vector<std::pair<double, double>> &waits) {
  Trace trace;
  for (const auto &[begin, end] : flights)
    trace.span(Lane::communication, "dispatch", begin, end, 3, 1, 4096);
  for (const auto &[begin, end] : waits) trace.span(Lane::waiting, "dispatch", begin, end);
  return trace;
}

void expect_hidden(const Trace &trace, double in_flight, double exposed) {
  const Trace::Hidden hidden = trace.hidden();
  EXPECT_DOUBLE_EQ(hidden.in_flight, in_flight);
  EXPECT_DOUBLE_EQ(hidden.exposed, exposed);
}

TEST(Trace, NothingInFlightIsAllHidden) {
  expect_hidden(Trace(), 0, 0);
  EXPECT_EQ(Trace().hidden().share(), 1);
  expect_hidden(of({}, {{0, 5}}), 0, 0); // a wait for nothing that flies
}

TEST(Trace, WaitsCountWhereSomethingFlies) {
  expect_hidden(of({{1, 5}}, {}), 4, 0);
  expect_hidden(of({{1, 5}}, {{0, 2}}), 4, 1);
  expect_hidden(of({{1, 5}}, {{4, 9}}), 4, 1);
  expect_hidden(of({{1, 5}}, {{2, 3}, {6, 7}}), 4, 1);
  expect_hidden(of({{1, 5}}, {{0, 9}}), 4, 4);
  EXPECT_DOUBLE_EQ(of({{1, 5}}, {{4, 9}}).hidden().share(), 0.75);
}

TEST(Trace, TimeCountsOnceHoweverManyFly) {
  expect_hidden(of({{0, 4}, {1, 3}, {2, 6}, {8, 9}}, {}), 7, 0);
  // Waits that overlap, touch, or lie within each other, in any order.
  expect_hidden(of({{2, 6}, {0, 4}}, {{3, 5}, {1, 2}, {2, 3}, {3, 4}}), 6, 4);
  expect_hidden(of({{0, 1}, {2, 3}, {4, 5}}, {{0.5, 4.5}}), 3, 2);
  expect_hidden(of({{3, 3}}, {{0, 9}}), 0, 0); // no time at all
}

TEST(Trace, ClearForgets) {
  Trace trace = of({{1, 5}}, {{2, 3}});
  EXPECT_FALSE(trace.empty());
  trace.clear();
  EXPECT_TRUE(trace.empty());
  expect_hidden(trace, 0, 0);
}

TEST(Trace, NowGoesOn) {
  const double first = Trace::now();
  EXPECT_LE(first, Trace::now());
}

TEST(Trace, FileOfAViewer) {
  Trace trace = of({{10.0, 10.002}, {10.001, 10.003}, {10.0015, 10.0016}, {10.003, 10.004}},
                   {{10.0005, 10.001}});
  trace.span(Lane::compute, "attention F", 10, 10.001, 3, 7);
  trace.span(Lane::compute, "a \"name\"\\\n", 10.001, 10.002);
  const auto path = std::filesystem::temp_directory_path() / "hadal_trace_test.json";
  trace.write(path.string(), 5, "rank 5, stage 2", 9);
  const json file = json::parse(base::read_file(path, base::Exit::fault, "E000"));
  std::filesystem::remove(path);

  EXPECT_EQ(file["otherData"]["rank"], 5);
  EXPECT_NEAR(file["otherData"]["in_flight_seconds"].get<double>(), 0.004, 1e-8);
  EXPECT_NEAR(file["otherData"]["exposed_seconds"].get<double>(), 0.0005, 1e-8);
  std::map<int, std::string> threads;
  std::vector<json> spans;
  std::string process;
  for (const json &event : file["traceEvents"]) {
    EXPECT_EQ(event["pid"], 5);
    if (event["ph"] == "X") spans.push_back(event);
    if (event["name"] == "process_name") process = event["args"]["name"];
    if (event["name"] == "thread_name") threads[event["tid"]] = event["args"]["name"];
  }
  EXPECT_EQ(process, "rank 5, stage 2");
  ASSERT_EQ(spans.size(), 7U);
  EXPECT_EQ(spans[0]["name"], "attention F");
  EXPECT_NEAR(spans[0]["ts"].get<double>(), 1e6, 1e-3); // microseconds since zero
  EXPECT_NEAR(spans[0]["dur"].get<double>(), 1000, 1e-2);
  EXPECT_EQ(spans[0]["args"]["micro_batch"], 3);
  EXPECT_EQ(spans[0]["args"]["layer"], 7);
  EXPECT_FALSE(spans[0]["args"].contains("bytes"));
  EXPECT_EQ(spans[1]["name"], "a \"name\"\\\n");
  EXPECT_TRUE(spans[1]["args"].empty());
  EXPECT_EQ(threads.at(spans[0]["tid"]), "compute");
  EXPECT_EQ(threads.at(spans[2]["tid"]), "waiting");
  // Three messages fly at once and take three rows; the fourth finds the first row free.
  std::vector<std::string> rows;
  for (std::size_t i = 3; i < 7; ++i) rows.push_back(threads.at(spans[i]["tid"]));
  EXPECT_EQ(rows, (std::vector<std::string>{"communication", "communication 2", "communication 3",
                                            "communication"}));
  EXPECT_EQ(spans[3]["args"]["bytes"], 4096);
}

// No two spans of a row overlap in part: a viewer would drop one.
TEST(Trace, RowsHoldWhatAViewerTakes) {
  Trace trace;
  trace.span(Lane::compute, "outer", 0, 10);
  trace.span(Lane::compute, "inner", 1, 4);
  trace.span(Lane::compute, "after", 4, 10);
  trace.span(Lane::compute, "across", 9, 12);
  trace.span(Lane::compute, "longer", 20, 22);
  trace.span(Lane::compute, "shorter", 20, 21);
  for (int i = 0; i < 40; ++i) trace.span(Lane::communication, "flight", i * 0.7, i * 0.7 + 1.9);
  const json file = json::parse(trace.json(0, "rank 0", 0));
  std::map<int, std::vector<std::pair<double, double>>> by_row;
  for (const json &event : file["traceEvents"])
    if (event["ph"] == "X")
      by_row[event["tid"]].emplace_back(event["ts"],
                                        event["ts"].get<double>() + event["dur"].get<double>());
  EXPECT_EQ(by_row.size(), 2U + 3U); // 1.9 / 0.7: three at once
  for (const auto &[row, spans] : by_row)
    for (std::size_t i = 0; i < spans.size(); ++i)
      for (std::size_t j = 0; j < i; ++j) {
        const auto &[first, last] = spans[i];
        const auto &[begin, end] = spans[j];
        const bool apart = last <= begin || end <= first;
        const bool within = (first <= begin && end <= last) || (begin <= first && last <= end);
        EXPECT_TRUE(apart || (within && row < 200)) << row; // messages: never within each other
      }
}

TEST(Trace, FolderThatIsMissing) {
  try {
    Trace().write("/nowhere/at/all/rank.json", 0, "rank 0", 0);
    FAIL();
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.number(), "E072");
  }
}

} // namespace

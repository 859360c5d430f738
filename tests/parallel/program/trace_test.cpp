// SPDX-License-Identifier: Apache-2.0
// run.trace on four ranks: a file of each, on one clock, in which the turns of an overlapped pair can be seen.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include <nlohmann/json.hpp>

#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

using nlohmann::json;
using Words = std::vector<std::string>;

struct Span {
  std::string name, lane;
  double begin, end; // microseconds
  long micro_batch, layer;
};

std::vector<Span> spans_of(const json &file) {
  std::vector<Span> spans;
  for (const json &event : file["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const json &more = event["args"];
    const double begin = event["ts"];
    spans.push_back({event["name"], event["cat"], begin, begin + event["dur"].get<double>(),
                     more.value("micro_batch", -1L), more.value("layer", -1L)});
  }
  return spans;
}

// Does a backward pass of one micro-batch take turns with the forward pass of another, as published?
bool has_pair(const std::vector<Span> &spans) {
  std::vector<Span> work;
  for (const Span &span : spans)
    for (const char *name : {"experts B", "experts W", "experts F", "attention B"})
      if (span.lane == "compute" && span.name == name) work.push_back(span);
  for (std::size_t i = 0; i + 3 < work.size(); ++i)
    if (work[i].name == "experts B" && work[i + 1].name == "experts W" &&
        work[i + 2].name == "experts F" && work[i + 3].name == "attention B" &&
        work[i].micro_batch == work[i + 3].micro_batch &&
        work[i].micro_batch != work[i + 2].micro_batch)
      return true;
  return false;
}

class Traced : public ::testing::Test {
protected:
  static void SetUpTestSuite() { tiny = new support::TinyRun(); }
  static void TearDownTestSuite() { delete tiny; }
  static support::Outcome run(const std::string &directory, const Words &more) {
    Words words = tiny->command(directory, {"model.layers=5", "train.steps=3"});
    words.insert(words.end(), more.begin(), more.end());
    return support::run(support::mpirun(4, words), tiny->folder(), 120);
  }
  static json file(const std::string &directory, int rank) {
    return json::parse(support::read_text(
        tiny->at(directory + "/trace/rank-0000" + std::to_string(rank) + ".json")));
  }
  static support::TinyRun *tiny;
};
support::TinyRun *Traced::tiny = nullptr;

const Words kDualPipe = {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2",
                         "parallel.schedule=dualpipe"};

TEST_F(Traced, FourRanksOfDualPipe) {
  const auto plain = run("plain", kDualPipe);
  ASSERT_EQ(plain.code, 0) << plain.output;
  EXPECT_FALSE(std::filesystem::exists(tiny->at("plain/trace")));
  EXPECT_NE(plain.output.find("communication hidden: "), std::string::npos) << plain.output;

  Words traced = kDualPipe;
  traced.insert(traced.end(), {"run.trace=true", "run.trace_steps=[2,3]"});
  const auto outcome = run("traced", traced);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("trace of steps 2 to 3"), std::string::npos) << outcome.output;
  EXPECT_EQ(support::state_hash(outcome.output), support::state_hash(plain.output));

  double last_begin = 0, first_end = 1e18;
  for (int rank = 0; rank < 4; ++rank) {
    const json data = file("traced", rank);
    EXPECT_EQ(data["otherData"]["rank"], rank);
    const double in_flight = data["otherData"]["in_flight_seconds"],
                 exposed = data["otherData"]["exposed_seconds"];
    EXPECT_GT(in_flight, 0);
    EXPECT_GE(in_flight, exposed);
    const auto spans = spans_of(data);
    std::vector<Span> steps;
    std::set<std::string> names;
    for (const Span &span : spans) {
      names.insert(span.name);
      if (span.name == "step") steps.push_back(span);
    }
    ASSERT_EQ(steps.size(), 2U) << rank;
    last_begin = std::max(last_begin, steps[0].begin);
    first_end = std::min(first_end, steps[0].end);
    for (const Span &span : spans) { // all within the steps
      EXPECT_GE(span.begin, steps[0].begin) << span.name;
      EXPECT_LE(span.end, steps[1].end) << span.name;
    }
    for (const char *name : {"attention F", "attention B", "attention W", "experts F", "experts B",
                             "experts W", "dispatch F", "combine F", "dispatch B", "combine B",
                             "receive activation", "send gradient", "update"})
      EXPECT_TRUE(names.count(name)) << rank << ": " << name;
    EXPECT_TRUE(has_pair(spans)) << rank;
  }
  EXPECT_GE(last_begin, 0); // one clock: the ranks make the step together
  EXPECT_LT(last_begin, first_end);
}

TEST_F(Traced, ARunThatEndsBeforeIsTold) {
  const auto outcome = run("short", {"parallel.dp=4", "run.trace=true"});
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_TRUE(std::filesystem::exists(tiny->at("short/trace/rank-00003.json"))); // step 3 of [3, 4]
  const auto none = run("none", {"parallel.dp=4", "run.trace=true", "run.trace_steps=[9,9]"});
  ASSERT_EQ(none.code, 0) << none.output;
  EXPECT_NE(none.output.find("no trace: the run made 3 step(s)"), std::string::npos) << none.output;
}

} // namespace

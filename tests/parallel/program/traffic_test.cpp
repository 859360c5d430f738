// SPDX-License-Identifier: Apache-2.0
// The table at the end of a run on several ranks: two hops send less between nodes than one hop, and end with the same state.
#include <gtest/gtest.h>

#include <sstream>

#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace {

// Bytes between nodes that the table of a run.log has for an operation on an axis.
double between_nodes(const std::string &log, const std::string &axis,
                     const std::string &operation) {
  std::istringstream lines(log);
  std::string line, now;
  while (std::getline(lines, line)) {
    if (line.size() < 80) continue;
    if (line[0] != ' ') now = line.substr(0, line.find(' '));
    if (now != axis || line.substr(17, operation.size() + 1) != operation + " ") continue;
    std::istringstream last(line.substr(line.size() - 12));
    double value = 0;
    std::string unit;
    last >> value >> unit;
    return value * (unit == "MiB" ? 1048576 : unit == "KiB" ? 1024 : 1);
  }
  return -1;
}

TEST(Traffic, IsReportedAtTheEndOfARun) {
  const support::TinyRun tiny;
  ASSERT_EQ(tiny.built().code, 0) << tiny.built().output;
  const auto run = [&](const std::string &way) {
    const auto outcome = support::run(
        support::mpirun(4, tiny.command(way, {"parallel.dp=4", "parallel.ep=4", "train.steps=1",
                                              "parallel.ranks_per_node=2",
                                              "parallel.dispatch=" + way, "model.layers=3"})),
        tiny.folder(), 120);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    return outcome.output;
  };
  const std::string direct = run("direct"), two_hop = run("two_hop");
  EXPECT_EQ(support::state_hash(direct), support::state_hash(two_hop));
  const std::string log = support::read_text(tiny.at("two_hop/run.log")),
                    plain = support::read_text(tiny.at("direct/run.log"));
  const double rows = between_nodes(plain, "ep", "dispatch"),
               once = between_nodes(log, "ep_cross", "dispatch");
  EXPECT_GT(once, 0) << log;
  EXPECT_LT(once, rows) << log << plain;
  EXPECT_LT(between_nodes(log, "ep_cross", "combine"), between_nodes(plain, "ep", "combine"));
  EXPECT_LT(between_nodes(log, "ep", "dispatch"), 0) << "nothing by the other way";
  EXPECT_LT(between_nodes(plain, "ep_cross", "dispatch"), 0);
}

} // namespace

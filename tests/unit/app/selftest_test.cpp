// SPDX-License-Identifier: Apache-2.0
// The judgement of hadal selftest over findings that no machine at hand has.
#include "app/selftest.hpp"

#include <cstring>

#include <gtest/gtest.h>

namespace {

using app::SelftestReport;

// Two nodes with two healthy ranks each.
struct Four {
  std::vector<SelftestReport> reports{4};
  std::vector<std::string> nodes{"n1", "n1", "n2", "n2"};
  Four() {
    for (SelftestReport &r : reports) {
      r.threads = 2, r.gemm = 100e9, r.rows_compared = 72;
      r.hash = {1, 2};
      r.pairs.slowest_peer = r.pairs.narrowest_peer = 3;
      r.pairs.latency = 2e-6, r.pairs.bandwidth = 10e9;
      std::strcpy(r.cpu, "a processor");
    }
    reports[3].pairs.slowest_peer = reports[3].pairs.narrowest_peer = 0;
  }
  app::SelftestVerdict judge(double slowest = 0) {
    return app::judge_selftest(reports, nodes, "dir", slowest);
  }
  // The only fault, which names node and check.
  void expect_fault(const std::string &number, const std::string &node, const std::string &check,
                    const std::string &part, double slowest = 0) {
    const auto verdict = judge(slowest);
    ASSERT_EQ(verdict.faults.size(), 1U);
    const auto &f = verdict.faults[0];
    EXPECT_EQ(f.number + " " + f.node + " " + f.check, number + " " + node + " " + check);
    EXPECT_NE(f.text.find(part), std::string::npos) << f.text;
    int failed = 0;
    for (const std::string &line : verdict.lines)
      if (line.find("FAILED") != std::string::npos) {
        ++failed;
        EXPECT_TRUE(line.starts_with(node)) << line;
      }
    EXPECT_EQ(failed, 1);
  }
};

TEST(SelftestVerdict, OneLineANodeAndCheck) {
  const auto verdict = Four().judge();
  EXPECT_TRUE(verdict.faults.empty());
  EXPECT_EQ(verdict.warnings, 0);
  ASSERT_EQ(verdict.lines.size(), 14U);
  EXPECT_TRUE(
      verdict.lines[0].starts_with("n1           host      2 ranks x 2 threads, a processor"))
      << verdict.lines[0];
  EXPECT_TRUE(verdict.lines[13].starts_with("n2           clock"));
}

TEST(SelftestVerdict, FaultsNameNodeAndCheck) {
  Four wrong;
  wrong.reports[2].pairs.wrong_messages = 3, wrong.reports[2].pairs.wrong_peer = 1;
  wrong.expect_fault("E086", "n2", "messages", "rank 2: 3 messages");
  wrong.expect_fault("E086", "n2", "messages", "from 1 on n1");
  Four rows;
  rows.reports[1].rows_differing = 5;
  std::strcpy(rows.reports[1].rows_first, "bf16 linear");
  rows.expect_fault("E087", "n1", "rows", "rank 1: 5 of 72 products");
  Four bits;
  bits.reports[3].hash = {1, 3};
  bits.expect_fault("E087", "n2", "bits", "rank 3:");
  Four disk;
  std::strcpy(disk.reports[0].disk_fault, "dir: no space");
  disk.expect_fault("E088", "n1", "file", "rank 0: dir: no space");
  Four slow;
  slow.reports[2].gemm = 30e9;
  slow.expect_fault("E089", "n2", "gemm", "too slow: rank 2", 0.5);
}

TEST(SelftestVerdict, WhatMayBeChanceIsAWarning) {
  Four slow;
  slow.reports[2].gemm = 30e9;
  EXPECT_TRUE(slow.judge().faults.empty());
  EXPECT_EQ(slow.judge().warnings, 1);
  Four clock;
  clock.reports[3].pairs.clock = -7;
  EXPECT_TRUE(clock.judge().faults.empty());
  EXPECT_EQ(clock.judge().warnings, 1);
}

// The median, not the mean: one broken rank must not make the others look fast or slow.
TEST(SelftestVerdict, OneSlowRankDoesNotShiftTheMeasure) {
  Four four;
  four.reports[0].gemm = 1e9;
  const auto verdict = four.judge(0.8);
  ASSERT_EQ(verdict.faults.size(), 1U);
  EXPECT_EQ(verdict.faults[0].node, "n1");
}

} // namespace

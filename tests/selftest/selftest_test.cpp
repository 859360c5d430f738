// SPDX-License-Identifier: Apache-2.0
// hadal selftest as a program: one rank without MPI, and several under mpirun.
#include <gtest/gtest.h>

#include "tests/support/process.hpp"

namespace {

using support::hadal;
using support::Outcome;
using support::run;

void expect_in(const Outcome &outcome, const std::string &part) {
  EXPECT_NE(outcome.output.find(part), std::string::npos) << "no \"" << part << "\" in\n"
                                                          << outcome.output;
}

TEST(SelftestProgram, OneRank) {
  const support::Scratch scratch;
  const Outcome outcome = run({hadal(), "selftest", "--directory", scratch.path().string()});
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  expect_in(outcome, "1 rank x ");
  expect_in(outcome, "selftest: passed with 1 rank");
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
}

TEST(SelftestProgram, AFolderThatCannotBeWrittenIsNamed) {
  const Outcome outcome = run({hadal(), "selftest", "--directory", "/no/such/folder"});
  EXPECT_EQ(outcome.code, 3) << outcome.output;
  expect_in(outcome, "[E088]");
  expect_in(outcome, "self-test, file");
  expect_in(outcome, "/no/such/folder");
}

#ifdef HADAL_MPIRUN
std::vector<std::string> mpirun(const std::vector<std::string> &words) {
  std::vector<std::string> all = {"env",
                                  "OMPI_ALLOW_RUN_AS_ROOT=1",
                                  "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
                                  "OMPI_MCA_btl_vader_single_copy_mechanism=none",
                                  "OMP_NUM_THREADS=1",
                                  HADAL_MPIRUN,
                                  "--oversubscribe",
                                  "--bind-to",
                                  "none"};
  all.insert(all.end(), words.begin(), words.end());
  return all;
}

TEST(SelftestProgram, SeveralRanks) {
  const support::Scratch scratch;
  for (const std::string ranks : {"2", "4"}) {
    const Outcome outcome =
        run(mpirun({"-np", ranks, hadal(), "selftest", "--directory", scratch.path().string()}));
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    expect_in(outcome, ranks + " ranks x 1 threads");
    expect_in(outcome, "worst pairs: ");
    expect_in(outcome, "of a fixed computation on each rank");
    expect_in(outcome, "selftest: passed with " + ranks + " ranks");
    EXPECT_EQ(outcome.output.find("selftest: passed"), outcome.output.rfind("selftest: passed"))
        << "told more than once\n"
        << outcome.output;
    EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  }
}

// Each rank has a folder of its own here: the second one's does not exist.
TEST(SelftestProgram, AFaultOfOneRankEndsAll) {
  const support::Scratch scratch;
  const Outcome outcome =
      run(mpirun({"-np", "1", hadal(), "selftest", "--directory", scratch.path().string(), ":",
                  "-np", "1", hadal(), "selftest", "--directory", scratch / "missing"}));
  EXPECT_EQ(outcome.code, 3) << outcome.output;
  expect_in(outcome, "FAILED rank 1: ");
  expect_in(outcome, "missing");
  expect_in(outcome, "[E088]");
}

// oneDNN told on one rank that the processor is an older one, as on a cluster of two kinds of nodes.
TEST(SelftestProgram, OtherBitsOnOneRankAreNamed) {
  const support::Scratch scratch;
  const std::string directory = scratch.path().string();
  const std::vector<std::string> plain = {hadal(), "selftest", "--directory", directory};
  std::vector<std::string> older = {"env", "DNNL_MAX_CPU_ISA=AVX2"};
  older.insert(older.end(), plain.begin(), plain.end());
  const auto bits = [](const Outcome &o) {
    const auto at = o.output.find(" bits      ");
    return at == std::string::npos ? "none" : o.output.substr(at, o.output.find('\n', at) - at);
  };
  if (bits(run(plain)) == bits(run(older))) GTEST_SKIP() << "this processor is an older one";
  std::vector<std::string> both = {"-np", "1"};
  both.insert(both.end(), plain.begin(), plain.end());
  both.insert(both.end(), {":", "-np", "1"});
  both.insert(both.end(), older.begin(), older.end());
  const Outcome outcome = run(mpirun(both));
  EXPECT_EQ(outcome.code, 3) << outcome.output;
  expect_in(outcome, "FAILED rank 1: a fixed computation gives ");
  expect_in(outcome, "[E087]");
}
#endif

} // namespace

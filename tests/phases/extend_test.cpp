// SPDX-License-Identifier: Apache-2.0
// Context extension: the weights go on at four times the length with YaRN, everything else begins anew.
#include <cmath>

#include "tests/phases/chain.hpp"

namespace {

using phases::holds, phases::Words;

class Extend : public phases::Chain {};

TEST_F(Extend, GoesOnFromTheWeightsAlone) {
  const auto before = numbers("base", "loss"), after = numbers("longer", "loss");
  ASSERT_EQ(after.size(), 10U);
  EXPECT_LT(after.front(), std::log(512.0)) << "not from random weights";
  EXPECT_LT(std::abs(after.front() - before.back()), 0.6);
  EXPECT_EQ(numbers("longer", "tokens").front(), 16 * 256) << "counted anew";
  EXPECT_EQ(numbers("longer", "learning_rate").front(), 3e-4) << "constant, no warm-up";
  const auto held_out = numbers("longer", "validation_loss");
  EXPECT_LT(held_out.back(), held_out.front());
}

TEST_F(Extend, RestartIsBitForBitAndSoIsAnotherLayout) {
  const std::string hash = longer;
  ASSERT_EQ(hash.size(), 32U);
  ASSERT_EQ(extend("halves", {"train.steps=4"}).code, 0);
  const auto rest = extend("halves", {});
  EXPECT_TRUE(holds(rest.output, "restart from")) << rest.output;
  EXPECT_EQ(support::state_hash(rest.output), hash) << rest.output;
  if (!HADAL_MPI) GTEST_SKIP() << "no MPI";
  const auto four = support::run(
      support::mpirun(4, extend_words("four", {"parallel.dp=2", "parallel.ep=2", "parallel.pp=2",
                                               "parallel.schedule=dualpipe"})),
      tiny->folder());
  EXPECT_EQ(four.code, 0) << four.output;
  EXPECT_EQ(support::state_hash(four.output), hash) << four.output;
}

TEST_F(Extend, MtpModulesCanBeKeptAsTheyAre) {
  const auto kept = extend("kept", {"mtp.train=false", "train.steps=3"});
  ASSERT_EQ(kept.code, 0) << kept.output;
  const auto compared =
      support::run({support::hadal(), "compare", "base", "kept", "--all"}, tiny->folder());
  EXPECT_TRUE(holds(compared.output, "weights/layers.2.router.w: ")) << compared.output;
  EXPECT_FALSE(holds(compared.output, "weights/layers.3.")) << compared.output;
}

TEST_F(Extend, WrongUse) {
  expect_told(extend("none", {"run.init_from="}), 2, "E032");
  expect_told(extend("none", {"run.init_from=nowhere"}), 5, "E210");
  expect_told(extend("none", {"train.epochs=2"}), 2, "E033");
  expect_told(extend("none", {"batch.sequence=264"}), 2, "E035");
  expect_told(extend("none", {"model.rope.theta=20000"}), 5, "E222");
  expect_told(extend("none", {"model.attention.heads=2"}), 5, "E222");
  expect_told(extend("base", {}), 5, "E223");
  expect_told(extend("none", {"rate.whole_run=true", "rate.cosine_tokens=100"}), 2, "E034");
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// The tiny deck learns: stated losses after 200 steps, in both precisions, and variants of the architecture learn too.
#include <gtest/gtest.h>

#include "tests/support/tiny_run.hpp"

namespace {

using support::TinyRun;

TinyRun &tiny() {
  static TinyRun run;
  return run;
}

double last_validation(const std::string &directory) {
  const auto values =
      support::column(tiny().at(directory + "/history.csv"), "validation_bits_per_byte");
  for (auto it = values.rbegin(); it != values.rend(); ++it)
    if (!it->empty()) return std::stod(*it);
  return 1e9;
}

TEST(convergence, tiny_deck_reaches_its_bits_per_byte) {
  ASSERT_EQ(tiny().built().code, 0) << tiny().built().output;
  const auto out = tiny().train("f32");
  ASSERT_EQ(out.code, 0) << out.output;
  EXPECT_LT(last_validation("f32"), 3.3) << out.output; // at the start: about 4.9
}

TEST(convergence, bf16_follows_f32) {
  const auto out = tiny().train("bf16", {"precision.compute=bf16"});
  ASSERT_EQ(out.code, 0) << out.output;
  EXPECT_NEAR(last_validation("bf16"), last_validation("f32"), 0.05);
}

TEST(convergence, variants_learn) {
  const std::vector<std::vector<std::string>> variants = {
      {"model.attention.q_rank=0", "model.router.score=softmax", "model.router.bias=false",
       "model.router.normalise=false", "model.router.scale=1.0", "model.router.groups=1",
       "model.router.chosen_groups=1", "model.shared_experts=2", "mtp.depth=0",
       "balance.alpha=0.003"},
      {"mtp.depth=2", "mtp.hidden=pre_norm", "model.dense_layers=0", "data.mask_documents=true"},
      {"model.dense_layers=3", "mtp.depth=0", "model.rope.factor=4.0", "model.rope.original=16"},
  };
  for (std::size_t i = 0; i < variants.size(); ++i) {
    const std::string directory = "variant" + std::to_string(i);
    const auto out = tiny().train(directory, variants[i]);
    ASSERT_EQ(out.code, 0) << i << "\n" << out.output;
    EXPECT_LT(last_validation(directory), 3.5) << i;
  }
}

} // namespace

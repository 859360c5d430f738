// SPDX-License-Identifier: Apache-2.0
// Every shipped deck is valid, and the manual of keys is the one that the program prints.
#include <gtest/gtest.h>

#include "tests/support/process.hpp"

namespace {

namespace fs = std::filesystem;
const std::string kSource = HADAL_SOURCE_DIR;

TEST(decks, every_shipped_deck_passes_check_and_explain) {
  int count = 0;
  for (const auto &entry : fs::recursive_directory_iterator(kSource + "/input")) {
    if (entry.path().extension() != ".toml" ||
        support::read_text(entry.path()).find("\n[run]") == std::string::npos)
      continue; // of an evaluation, a teacher, a task
    ++count;
    const auto check =
        support::run({support::hadal(), "run", entry.path().string(), "--check"}, kSource);
    EXPECT_EQ(check.code, 0) << entry.path() << "\n" << check.output;
    EXPECT_NE(check.output.find("the deck is valid"), std::string::npos) << entry.path();
    const auto explain =
        support::run({support::hadal(), "run", entry.path().string(), "--explain"}, kSource);
    EXPECT_EQ(explain.code, 0) << explain.output;
    EXPECT_NE(explain.output.find("global_batch"), std::string::npos);
  }
  EXPECT_GE(count, 20);
}

// Their tasks are read with the samples of the repository; those of deepseek_v3 want more examples than there are.
TEST(decks, decks_of_evaluations_pass_check_and_explain) {
  for (const std::string name : {"tiny", "deepseek_v3"}) {
    const std::string deck = "input/evaluate/" + name + ".toml";
    const auto check =
        support::run({support::hadal(), "eval", deck, "--check", "evaluate.shots=1"}, kSource);
    EXPECT_EQ(check.code, 0) << check.output;
    EXPECT_NE(check.output.find("the deck is valid"), std::string::npos) << check.output;
    const auto explain = support::run({support::hadal(), "eval", deck, "--explain"}, kSource);
    EXPECT_EQ(explain.code, 0) << explain.output;
    EXPECT_NE(explain.output.find("max_length"), std::string::npos) << explain.output;
  }
}

TEST(decks, manual_of_keys_is_what_the_program_prints) {
  const auto printed = support::run({support::hadal(), "decks"});
  ASSERT_EQ(printed.code, 0) << printed.output;
  EXPECT_EQ(printed.output, support::read_text(kSource + "/docs/decks.md"))
      << "write it anew: hadal decks > docs/decks.md";
}

TEST(decks, resolved_deck_gives_the_same_run) {
  const support::Scratch scratch;
  const auto out = support::run(
      {support::hadal(), "run", kSource + "/input/pretrain/tiny.toml", "--check", "rate.peak=1e-3"},
      kSource);
  EXPECT_NE(out.output.find("command line"), std::string::npos)
      << out.output; // the echo says who won
}

TEST(decks, count_gives_the_published_numbers) {
  const auto v3 =
      support::run({support::hadal(), "count", kSource + "/input/pretrain/deepseek_v3.toml"});
  for (const char *number : {"671,026,419,200", "11,610,068,224", "36,625,618,432", "70,272",
                             "250,449,887,232", "260,641,652,736", "281,152,192,512"})
    EXPECT_NE(v3.output.find(number), std::string::npos) << number << "\n" << v3.output;
  EXPECT_NE(support::run({support::hadal(), "count", kSource + "/input/pretrain/deepseek_v2.toml"})
                .output.find("235,741,434,880"),
            std::string::npos);
  EXPECT_NE(
      support::run({support::hadal(), "count", kSource + "/input/pretrain/deepseek_v2_lite.toml"})
          .output.find("15,706,484,224"),
      std::string::npos);
}

} // namespace

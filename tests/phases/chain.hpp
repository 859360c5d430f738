// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiny decks of all phases in one scratch folder, each from the one before, a few steps each; made once for all suites, so each names
// its own runs.
#include <gtest/gtest.h>

#include <memory>

#include "base/hash.hpp"
#include "tests/support/mpirun.hpp"
#include "tests/support/tiny_run.hpp"

namespace phases {

using Words = std::vector<std::string>;

// A key that is given again takes the place of the earlier one.
inline Words operator+(Words words, const Words &more) {
  for (const auto &word : more) {
    const auto key = word.substr(0, word.find('=') + 1);
    if (!key.empty()) std::erase_if(words, [&](const auto &old) { return old.starts_with(key); });
    words.push_back(word);
  }
  return words;
}
inline bool holds(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

class Chain : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    if (tiny) return; // of another suite
    tiny = std::make_unique<support::TinyRun>();
    ASSERT_EQ(tiny->built().code, 0) << tiny->built().output;
    const auto pretrained = tiny->train("base", {"train.steps=40", "train.validate_every=0"});
    ASSERT_EQ(pretrained.code, 0) << pretrained.output;
    const auto extended = extend("longer", {});
    ASSERT_EQ(extended.code, 0) << extended.output;
    longer = support::state_hash(extended.output);
  }

  static std::filesystem::path at(const std::string &name) { return tiny->at(name); }
  static Words extend_words(const std::string &directory, const Words &more) {
    return Words{support::hadal(),
                 "run",
                 std::string(HADAL_SOURCE_DIR) + "/input/extend/tiny.toml",
                 "run.directory=" + directory,
                 "run.init_from=base",
                 "train.steps=10",
                 "train.validate_every=5"} +
           more;
  }
  static Words sft_words(const std::string &directory, const Words &more) {
    return Words{support::hadal(),
                 "run",
                 std::string(HADAL_SOURCE_DIR) + "/input/sft/tiny.toml",
                 "run.directory=" + directory,
                 "run.init_from=longer",
                 "sft.source.0.paths=[\"" + std::string(HADAL_SOURCE_DIR) +
                     "/input/sft/samples\"]"} +
           more;
  }
  static Words reward_words(const std::string &directory, const Words &more) {
    return Words{support::hadal(),
                 "run",
                 std::string(HADAL_SOURCE_DIR) + "/input/reward/tiny.toml",
                 "run.directory=" + directory,
                 "run.init_from=longer",
                 "pairs.source.0.paths=[\"" + std::string(HADAL_SOURCE_DIR) +
                     "/input/reward/samples\"]"} +
           more;
  }
  static support::Outcome extend(const std::string &directory, const Words &more) {
    return support::run(extend_words(directory, more), tiny->folder());
  }
  static support::Outcome sft(const std::string &directory, const Words &more) {
    return support::run(sft_words(directory, more), tiny->folder());
  }
  // A copy of a run whose checkpoint of that step names another tokenizer.
  static void other_tokenizer(const std::string &run, const std::string &step,
                              const std::string &copy) {
    std::filesystem::copy(at(run), at(copy), std::filesystem::copy_options::recursive);
    const auto folder = at(copy) / "checkpoints" / step;
    std::string text = support::read_text(folder / "manifest.json");
    const auto hash = text.find("\"tokenizer\": \"");
    ASSERT_NE(hash, std::string::npos) << text;
    text[hash + 14] = text[hash + 14] == '0' ? '1' : '0';
    support::write_text(folder / "manifest.json", text);
    support::write_text(folder / "DONE", base::hash128(text).hex() + "\n");
  }
  static void expect_told(const support::Outcome &outcome, int code, const std::string &number) {
    EXPECT_EQ(outcome.code, code) << outcome.output;
    EXPECT_TRUE(holds(outcome.output, "[" + number + "]")) << outcome.output;
  }
  static std::vector<double> numbers(const std::string &directory, const std::string &name) {
    std::vector<double> values;
    for (const auto &text : support::column(at(directory + "/history.csv"), name))
      if (!text.empty()) values.push_back(std::stod(text));
    return values;
  }

  static std::unique_ptr<support::TinyRun> tiny;
  static std::string longer; // state hash
};
inline std::unique_ptr<support::TinyRun> Chain::tiny;
inline std::string Chain::longer;

} // namespace phases

// SPDX-License-Identifier: Apache-2.0
// Answers cut into steps, and what becomes of the steps' rewards, against numbers made by hand.
#include "train/grpo/steps.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "data/byte_alphabet.hpp"
#include "data/json.hpp"
#include "train/grpo/advantages.hpp"

namespace {

using namespace train::grpo;

// A token for each byte, one that has a line break within ("b\nc"), and an end that is no text.
data::Tokenizer bytes() {
  namespace alphabet = data::byte_alphabet;
  std::string vocabulary;
  int id = 0;
  for (int byte = 0; byte < 256; ++byte) {
    data::write_json_string(vocabulary, alphabet::text_of(static_cast<unsigned char>(byte)));
    vocabulary += ": " + std::to_string(id++) + ", ";
  }
  data::write_json_string(vocabulary, "b" + alphabet::text_of('\n') + "c");
  data::write_json_string(vocabulary += ": 256, ", "b" + alphabet::text_of('\n'));
  return data::Tokenizer::from_json(
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
      {"id": 258, "content": "<end>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}], "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                        "use_regex": true},
      "post_processor": null, "decoder": {"type": "ByteLevel"},
      "model": {"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
        "byte_fallback": false, "ignore_merges": false, "vocab": {)" +
          vocabulary + R"(: 257}, "merges": [["b", ")" + alphabet::text_of('\n') + R"("], ["b)" +
          alphabet::text_of('\n') + R"(", "c"]]}})",
      "test");
}

std::vector<data::Token> tokens(const std::string &text) { // $: the end; ^: the token "b\nc"
  std::vector<data::Token> out;
  for (const char c : text) out.push_back(c == '$' ? 258 : c == '^' ? 256 : c);
  return out;
}

std::vector<std::size_t> ends(const std::string &text, const std::string &mark = "\n") {
  static const data::Tokenizer tokenizer = bytes();
  std::vector<std::size_t> all;
  for (const Step &step : cut_into_steps(tokens(text), tokenizer, mark)) all.push_back(step.end);
  return all;
}

TEST(Steps, EndBehindEachMark) {
  using Ends = std::vector<std::size_t>;
  EXPECT_EQ(ends("12\n34\n5$"), (Ends{3, 6, 8}));
  EXPECT_EQ(ends("12\n34\n$"), (Ends{3, 7})) << "the end of the turn is no step";
  EXPECT_EQ(ends("1\n\n\n2"), (Ends{2, 5})) << "what says nothing is no step";
  EXPECT_EQ(ends("\n1\n2\n \n"), (Ends{3, 7}));
  EXPECT_EQ(ends("12"), (Ends{2}));
  EXPECT_EQ(ends("$"), (Ends{1})) << "an answer has a step";
  EXPECT_EQ(ends("a^d"), (Ends{2, 3}))
      << "a token that goes on behind the mark belongs to the step";
  EXPECT_EQ(ends("1;;2;;3", ";;"), (Ends{3, 6, 7}));
  EXPECT_EQ(ends(""), Ends{});
}

TEST(Steps, TextUpToAStep) {
  const data::Tokenizer tokenizer = bytes();
  EXPECT_EQ(text_upto(tokens("12\n34$"), 3, tokenizer), "12\n");
  EXPECT_EQ(text_upto(tokens("12\n34$"), 6, tokenizer), "12\n34") << "the end is no text";
}

// A group of two answers: steps 1, 0, 1 and 0. Mean 1/2, deviation 1/2: r' = 1, -1, 1 and -1.
TEST(Steps, AdvantagesAreSumsOfWhatIsStillToCome) {
  Steps a = {{2, 1, 0}, {5, 0, 0}, {6, 1, 0}}, b = {{4, 0, 0}};
  Steps c = {{2, 3, 0}}, d = {{1, 3, 0}, {3, 3, 0}}; // a group that is flat
  std::vector<Steps *> all = {&a, &b, &c, &d};
  weigh_steps(all, 2, Spread::deviation);
  EXPECT_DOUBLE_EQ(a[0].advantage, 1);
  EXPECT_DOUBLE_EQ(a[1].advantage, 0);
  EXPECT_DOUBLE_EQ(a[2].advantage, 1);
  EXPECT_DOUBLE_EQ(b[0].advantage, -1);
  for (const Step &step : {c[0], d[0], d[1]}) EXPECT_EQ(step.advantage, 0);
  weigh_steps(all, 2, Spread::none);
  EXPECT_DOUBLE_EQ(a[0].advantage, 0.5);
  EXPECT_DOUBLE_EQ(a[1].advantage, 0);
  EXPECT_DOUBLE_EQ(b[0].advantage, -0.5);
  const std::vector<double> outcomes = {1, 1, 2, 2};
  EXPECT_DOUBLE_EQ(flat_groups(outcomes, all, 2), 0.5);
}

// Rewards 2, 0, 1 of one group: mean 1, deviation sqrt(2/3).
TEST(Steps, AreNormalisedOverTheWholeGroup) {
  Steps a = {{1, 2, 0}, {2, 0, 0}}, b = {{1, 1, 0}};
  std::vector<Steps *> all = {&a, &b};
  weigh_steps(all, 2, Spread::deviation);
  const double s = std::sqrt(2.0 / 3);
  EXPECT_NEAR(a[0].advantage, 0, 1e-15);
  EXPECT_NEAR(a[1].advantage, -1 / s, 1e-15);
  EXPECT_NEAR(b[0].advantage, 0, 1e-15);
}

} // namespace

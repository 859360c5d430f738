// SPDX-License-Identifier: Apache-2.0
// What a reader sees: samples on a terminal and on paper, tables.
#include "base/text.hpp"
#include "data/sampler.hpp"
#include "data/show.hpp"
#include "data/stats.hpp"
#include "data_support.hpp"

namespace {

using base::Exit;
using data::Sample;
using data::Token;
using namespace data::test;

// Without escape sequences.
std::string bare(const std::string &text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b')
      i = text.find('m', i);
    else
      out += text[i];
  }
  return out;
}

TEST(Show, NothingCanCommandTheTerminal) {
  EXPECT_EQ(data::visible("a\x1b[31m\x7f\t\r\n"), "a\\x1b[31m\\x7f⇥␍⏎\n");
  EXPECT_EQ(data::visible("\xC2\x9B"), "\\u009b"); // CSI as one character
  EXPECT_EQ(data::visible("\xC3\xA9\xE6\xB5\xB7"), "é海");
  EXPECT_EQ(data::visible("\xE6\xB5"), "\\xe6\\xb5");
  EXPECT_EQ(data::visible(std::string(1, '\0')), "\\x00");
}

TEST(Show, BordersEndsMasksAndParts) {
  const data::Tokenizer &tokenizer = small_tokenizer();
  Sample sample;
  const auto add = [&](const std::string &text) {
    for (const Token token : tokenizer.encode(text)) sample.tokens.push_back(token);
  };
  sample.segments = {0};
  add("Q7");
  sample.tokens.push_back(tokenizer.eos());
  sample.segments.push_back(static_cast<std::int32_t>(sample.tokens.size()));
  sample.tokens.push_back(*tokenizer.fim_begin());
  add("J");
  sample.tokens.push_back(*tokenizer.fim_hole());
  add("Y");
  sample.tokens.push_back(*tokenizer.fim_end());
  add("X");
  const std::string plain = data::render(sample, tokenizer, false);
  EXPECT_EQ(plain, "Q|7⟨end⟩\n⟨mask⟩\n⟨prefix⟩J⟨suffix⟩Y⟨middle⟩X");
  const std::string colour = data::render(sample, tokenizer, true);
  EXPECT_EQ(bare(colour), "Q7⟨end⟩\n⟨mask⟩\n⟨prefix⟩J⟨suffix⟩Y⟨middle⟩X");
  EXPECT_NE(colour.find("48;5;235mQ"), std::string::npos);
  EXPECT_NE(colour.find("48;5;238m7"), std::string::npos) << "the next token has the other shade";
}

TEST(Show, SamplesAndTables) {
  World world;
  data::build(world.request);
  data::SamplerOptions options;
  options.directory = world.folder / "out";
  options.sequence = 64;
  const data::Sampler sampler(options);
  const std::string plain = data::show(sampler, {5, 2, false, false});
  EXPECT_NE(plain.find("training sample 5 | source prose | 65 tokens"), std::string::npos) << plain;
  EXPECT_NE(plain.find("training sample 6"), std::string::npos);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);
  EXPECT_TRUE(base::text::valid_utf8(plain));
  EXPECT_NE(data::show(sampler, {0, 1, true, true}).find("\x1b[1mvalidation sample 0"),
            std::string::npos);
  expect_error(error_of([&] {
                 data::show(sampler, {sampler.validation_samples(), 1, true, false});
               }),
               Exit::data, "E129", {"There are"});
}

TEST(Stats, CountsSharesAndEpochs) {
  data::Manifest manifest;
  manifest.vocabulary = 500;
  manifest.tokenizer_hash = "abc";
  data::SourceInfo a, b;
  a.name = "a";
  a.weight = 3.0;
  a.files = 1;
  a.train.shards = {{"x", 100, 1900, 7600, 1, "h"}};
  a.validation.shards = {{"y", 1, 1000, 3000, 1, "h"}};
  b.name = "b";
  b.train.shards = {{"z", 10, 990, 1980, 1, "h"}};
  manifest.sources = {a, b};
  const std::string text = data::stats(manifest, {8000, {}});
  const auto line = [&](std::initializer_list<const char *> words) {
    std::string expected;
    for (const char *word : words) expected += std::string(word) + " ";
    std::string squeezed;
    for (const char c : text)
      if (c != ' ' || !squeezed.ends_with(' ')) squeezed += c == '\n' ? ' ' : c;
    EXPECT_NE(squeezed.find(expected), std::string::npos) << expected << "in\n" << text;
  };
  line({"a", "train", "100", "1,900", "7,600", "4.000", "75.00 %", "3.000"});
  line({"validation", "1", "1,000", "3,000", "3.000"});
  line({"b", "train", "10", "990", "1,980", "2.000", "25.00 %", "2.000"});
  line({"all", "train", "110", "2,890", "9,580"});
  EXPECT_EQ(data::stats(manifest, {}).find("epochs"), std::string::npos);
  line({"500", "ids,", "abc"});
  expect_error(error_of([&] {
                 data::stats(manifest, {0, {1.0}});
               }),
               Exit::data, "E125", {"1 weights for 2"});
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Lines of mixed text (code, Chinese, emoji, right-to-left, controls, added tokens) with the ids that Hugging Face tokenizers gives them, as
// hashes (tools/golden/tokenizer_corpus.py): of a tokenizer trained on these lines, and of the published one where it is present.
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/files.hpp"
#include "data/tokenizer.hpp"

namespace {

namespace fs = std::filesystem;

nlohmann::json golden() {
  return nlohmann::json::parse(base::read_file(fs::path(HADAL_SOURCE_DIR) / "tests" / "reference" /
                                                   "tokenizer" / "lines.json",
                                               base::Exit::data, "E100"));
}

// Compares count and hash of each line's ids; gives the number of lines.
int compare(const data::Tokenizer &tokenizer, const nlohmann::json &golden,
            const std::string &which) {
  int lines = 0;
  for (const auto &line : golden.at("lines")) {
    const auto text = line.at("text").get<std::string>();
    const auto ids = tokenizer.encode(text, true);
    const auto &theirs = line.at(which);
    EXPECT_EQ(ids.size(), theirs.at("count").get<std::size_t>()) << line.at("text").dump();
    EXPECT_EQ(base::hash128(ids.data(), ids.size() * sizeof(data::Token)).hex(),
              theirs.at("xxh3_128").get<std::string>())
        << line.at("text").dump();
    EXPECT_EQ(tokenizer.decode(ids), text);
    ++lines;
  }
  return lines;
}

TEST(TokenizerCorpus, trained_here) {
  const auto expected = golden();
  std::string text;
  for (const auto &line : expected.at("lines"))
    text += (text.empty() ? "" : "\n") + line.at("text").get<std::string>();
  data::TokenizerTraining training;
  training.vocabulary = expected.at("vocabulary").get<int>();
  data::TokenizerTrainer trainer(training);
  trainer.add(text);
  const data::Tokenizer tokenizer = trainer.finish();
  ASSERT_EQ(tokenizer.hash().hex(), expected.at("trained_file").get<std::string>())
      << "training gives another tokenizer than when the golden was made: make it again";
  EXPECT_EQ(compare(tokenizer, expected, "trained"), 200);
}

TEST(TokenizerCorpus, published) {
  const char *shared = std::getenv("HADAL_SHARED");
  const fs::path file = (shared ? fs::path(shared) : fs::path(HADAL_SOURCE_DIR) / ".." / "shared") /
                        "data" / "deepseek_v3_tokenizer" / "tokenizer.json";
  if (!fs::exists(file)) {
    std::fprintf(stderr, "NOT TESTED: the published tokenizer is not at %s (set HADAL_SHARED)\n",
                 file.c_str());
    GTEST_SKIP() << "no " << file;
  }
  EXPECT_EQ(compare(data::Tokenizer::load(file), golden(), "published"), 200);
}

} // namespace

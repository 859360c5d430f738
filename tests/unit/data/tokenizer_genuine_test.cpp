// SPDX-License-Identifier: Apache-2.0
// The published DeepSeek-V3 tokenizer: golden vectors on which two other programs agree. The file
// is not part of the repository: environment variable HADAL_SHARED, or ../shared beside the
// checkout.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include <gtest/gtest.h>

#include "data/tokenizer.hpp"

namespace {

using data::Token;

std::filesystem::path genuine_file() {
  const char *shared = std::getenv("HADAL_SHARED");
  const std::filesystem::path root =
      shared ? std::filesystem::path(shared)
             : std::filesystem::path(HADAL_SOURCE_DIR) / ".." / "shared";
  return root / "data" / "deepseek_v3_tokenizer" / "tokenizer.json";
}

class GenuineTokenizer : public testing::Test {
protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(genuine_file())) return;
    const std::clock_t begin = std::clock(); // of the processor: other jobs do not count
    tokenizer_.emplace(data::Tokenizer::load(genuine_file()));
    load_seconds_ = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  }
  static void TearDownTestSuite() { tokenizer_.reset(); }
  void SetUp() override {
    if (tokenizer_) return;
    std::fprintf(stderr, "NOT TESTED: the published tokenizer is not at %s (set HADAL_SHARED)\n",
                 genuine_file().c_str());
    GTEST_SKIP() << "no " << genuine_file();
  }
  static std::optional<data::Tokenizer> tokenizer_;
  static double load_seconds_;
};

std::optional<data::Tokenizer> GenuineTokenizer::tokenizer_;
double GenuineTokenizer::load_seconds_ = 0;

struct Golden {
  const char *text;
  std::vector<Token> ids;
};

const Golden kGoldens[] = {
    {"Hello world", {19923, 2058}},
    {"Hello, world! How are you?", {19923, 14, 2058, 3, 1730, 477, 440, 33}},
    {" leading and trailing  ", {6646, 305, 52964, 262}},
    {"1234567 3.14159", {6895, 18009, 25, 223, 21, 16, 9926, 3318}},
    {"中文测试，你好世界", {21134, 10251, 303, 30594, 3427}},
    {"a\n\n\nb\r\n\tc", {67, 6328, 68, 204, 201, 28544}},
    {"    indented code\n        more", {361, 1126, 19686, 4181, 201, 528, 850}},
    {"naïve café Ünïcödé", {2720, 91223, 57664, 25132, 80, 16709, 69, 54879, 619}},
    {"x_y_z __init__ #hash @user", {90, 21469, 56949, 7854, 7025, 848, 1823, 35261, 2390, 5265}},
    {"<｜User｜>hi<｜Assistant｜>", {128803, 6366, 128804}},
    {"<｜begin▁of▁sentence｜>abc", {0, 32372}},
    {"ab12cd345ef6789", {425, 736, 6621, 18014, 1238, 27183, 27}},
    {"٣٤٥ Ⅷ ½", {127056, 152, 100, 152, 101, 223, 23603, 103, 223, 23951}},
    {"zero\u200Bwidth nbsp", {20692, 35020, 12356, 313, 12997}},
    {"$100 €20 £3", {6, 1457, 21820, 397, 11158, 21}},
    {"foo  bar   baz    ", {40897, 223, 4758, 262, 82942, 290}},
    {"\n", {201}},
    {"a b\tc", {67, 291, 28544}},
};

TEST_F(GenuineTokenizer, goldens) {
  for (const Golden &golden : kGoldens) {
    EXPECT_EQ(tokenizer_->encode(golden.text, true), golden.ids) << golden.text;
    EXPECT_EQ(tokenizer_->decode(golden.ids), golden.text);
  }
}

TEST_F(GenuineTokenizer, loads_within_a_second) {
  RecordProperty("load_seconds", std::to_string(load_seconds_));
#ifdef NDEBUG
  EXPECT_LT(load_seconds_, 1.0);
#endif
}

TEST_F(GenuineTokenizer, writes_the_published_file_byte_for_byte) {
  std::ifstream file(genuine_file(), std::ios::binary);
  const std::string published{std::istreambuf_iterator<char>(file), {}};
  const std::string written = tokenizer_->to_json();
  EXPECT_TRUE(written == published) << written.size() << " bytes instead of " << published.size();
}

TEST_F(GenuineTokenizer, special_tokens) {
  EXPECT_EQ(tokenizer_->size(), 128815);
  EXPECT_EQ(tokenizer_->bos(), 0);
  EXPECT_EQ(tokenizer_->eos(), 1);
  EXPECT_EQ(tokenizer_->fim_hole(), 128800);
  EXPECT_EQ(tokenizer_->fim_begin(), 128801);
  EXPECT_EQ(tokenizer_->fim_end(), 128802);
  EXPECT_EQ(tokenizer_->id_of("<|EOT|>"), 128805);
  EXPECT_EQ(tokenizer_->id_of("<｜tool▁sep｜>"), 128814);
  EXPECT_TRUE(tokenizer_->is_special(0));
  EXPECT_FALSE(tokenizer_->is_special(128803)); // User: added, but not special
  EXPECT_EQ(tokenizer_->decode(std::vector<Token>{0, 19923, 1}, true), "Hello");
  const std::vector<Token> plain = tokenizer_->encode("<｜User｜>", false);
  EXPECT_GT(plain.size(), 1u);
  EXPECT_EQ(tokenizer_->decode(plain), "<｜User｜>");
}

TEST_F(GenuineTokenizer, splits_punctuation_from_line_breaks) {
  int candidates = 0;
  for (Token id = 0; id < tokenizer_->size(); ++id) {
    const std::vector<Token> parts = tokenizer_->split_newline(id);
    if (parts.empty()) continue;
    ++candidates;
    EXPECT_GE(parts.size(), 2u);
    EXPECT_EQ(tokenizer_->decode(parts), tokenizer_->token_bytes(id));
  }
  EXPECT_GT(candidates, 100);
  EXPECT_EQ(tokenizer_->encode(".\n\n").size(), 1u);
  EXPECT_EQ(tokenizer_->split_newline(tokenizer_->encode(".\n\n")[0]).size(), 2u);
  EXPECT_TRUE(tokenizer_->split_newline(tokenizer_->encode("\n")[0]).empty());
}

} // namespace

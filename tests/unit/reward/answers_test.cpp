// SPDX-License-Identifier: Apache-2.0
// Finding and comparing answers, votes.
#include "reward/extract.hpp"
#include "reward/majority.hpp"
#include "reward/math_answer.hpp"
#include "reward/pattern.hpp"
#include "reward/tested.hpp"
#include "tests/unit/reward/tools.hpp"

namespace {

TEST(Math, TheSame) {
  const std::pair<const char *, const char *> same[] = {
      {"12", "12.0"},
      {"1,234", "1234"},
      {"0.5", "\\frac{1}{2}"},
      {"1/2", "\\dfrac12"},
      {"-\\frac{3}{4}", "-0.75"},
      {"50\\%", "50"},
      {"$12", "12"},
      {"12\\text{ cm}", "12"},
      {"12 cm", "12"},
      {"3 square feet", "3"},
      {"7 cm^2", "7"},
      {"7 cm^{2}", "7"},
      {"\\frac{1}{2} inch", "0.5"},
      {"x = 5", "5"},
      {"007", "7"},
      {"-0", "0"},
      {"1.5e3", "1500"},
      {"1.5 \\times 10^{3}", "1500"},
      {"2\\cdot10^{-2}", "0.02"},
      {"\\sqrt3", "\\sqrt{3}"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"\u20ac7", "7"}};
  for (const auto &[a, b] : same) {
    EXPECT_TRUE(reward::same_math(a, b)) << a << " " << b;
    EXPECT_TRUE(reward::same_math(b, a)) << b << " " << a;
  }
}

TEST(Math, NotTheSame) {
  const std::pair<const char *, const char *> other[] = {
      {"12", "13"},
      {"", ""},
      {"2x", "2"},
      {"2\\pi", "2"},
      {"12 cm", "12 m"},
      {"12cm", "12kg"},
      {"1234567890", "1234567891"},
      {"12345678901234567890", "12345678901234567891"},
      {"1/3", "0.333"},
      {"(1,2)", "12"},
      {"-5", "5"},
      {"e3", "3"},
      {"1e", "1"},
      {"\\frac{1}{0}", "0"},
      {"}{\\frac{", "1"},
      {"cm", "cm^2"}};
  for (const auto &[a, b] : other) EXPECT_FALSE(reward::same_math(a, b)) << a << " " << b;
  const std::string endless(100000, '{');
  EXPECT_FALSE(reward::same_math(endless, endless)) << "no answer is that long";
}

TEST(Find, CodeAndLines) {
  EXPECT_EQ(reward::last_code_block("a\n```python\nx = 1\n```\nb\n```\ny\n```\nend"), "y\n");
  EXPECT_EQ(reward::last_code_block("```\nnever closed"), "never closed");
  EXPECT_EQ(reward::last_code_block("no block"), "no block");
  EXPECT_EQ(reward::last_code_block("```"), "```");
  EXPECT_EQ(reward::last_line("a\n b \n\n"), "b");
  EXPECT_EQ(reward::last_line(""), "");
}

TEST(Pattern, WholeAndPart) {
  using Verdict = reward::Pattern::Verdict;
  const reward::Pattern whole("<a>.*</a>", true), part("<a>.*</a>", false);
  EXPECT_EQ(whole.test("<a>x</a>"), Verdict::yes);
  EXPECT_EQ(whole.test("<a>x</a> "), Verdict::no);
  EXPECT_EQ(part.test("so <a>x</a> "), Verdict::yes);
  EXPECT_EQ(reward::Pattern("a|b+", true).test("ab"), Verdict::no)
      << "the bar does not end the whole";
  EXPECT_EQ(reward::valid_text("a\xff\xe4\xbd z\xe4\xbd\xa0"), "a\uFFFD\uFFFD\uFFFD z\u4f60");
}

TEST(Majority, CountsByValue) {
  const auto most = reward::majority({"7", "1/2", "0.5", "", "\\frac{1}{2}", "7"});
  EXPECT_EQ(most.first, 1U);
  EXPECT_EQ(most.votes, 3U);
  EXPECT_EQ(most.agrees, (std::vector<bool>{false, true, true, false, true, false}));
  EXPECT_EQ(reward::majority({"2", "1", "1", "2"}).first, 0U) << "of equals the first";
  EXPECT_EQ(reward::majority({"", ""}).votes, 0U);
  EXPECT_EQ(reward::majority({}).votes, 0U);
  EXPECT_EQ(reward::majority({"yes", "no", "yes"}).votes, 2U);
}

TEST(Tested, OutputsAgree) {
  EXPECT_TRUE(reward::same_output("3 \n\n", "3"));
  EXPECT_TRUE(reward::same_output("a  \r\nb\n", "a\nb"));
  EXPECT_FALSE(reward::same_output("a\nb", "a b"));
  EXPECT_FALSE(reward::same_output("", "x"));
}

} // namespace

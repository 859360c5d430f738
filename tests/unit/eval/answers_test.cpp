// SPDX-License-Identifier: Apache-2.0
// Finding and comparing answers, against values worked out by hand.
#include <cmath>
#include <set>

#include "eval/answers.hpp"
#include "eval/instructions.hpp"
#include "eval/judge.hpp"
#include "eval/statistics.hpp"
#include "reward/math_answer.hpp"
#include "tests/unit/eval/tools.hpp"

namespace {

using namespace eval_test;

TEST(Extract, LastNumber) {
  const std::pair<const char *, const char *> cases[] = {
      {"so 3 and 4.", "4"},   {"$1,234.50!", "1234.50"}, {"-7", "-7"},
      {"3-4", "4"},           {"x = -0.5 m", "-0.5"},    {"none", ""},
      {"1,23", "123"},        {"is .5", ".5"},           {"v1.2.3", "3"},
      {"#### 2,000", "2000"}, {"10-fold", "10"},         {"5% of 40 = 2", "2"}};
  for (const auto &[text, number] : cases) EXPECT_EQ(eval::last_number(text), number) << text;
}

TEST(Extract, Letter) {
  const std::vector<std::string> letters = {"A", "B", "C", "D"};
  const std::pair<const char *, const char *> cases[] = {
      {"The answer is (C).", "C"},
      {"Answer: B", "B"},
      {"I think the answer is D because A is wrong", "D"},
      {"answer is A. No: the answer is B", "B"},
      {"B", "B"},
      {" (C) since", "C"},
      {"A. iron", "A"},
      {"A dog barks", ""},
      {"Both", ""},
      {"答案是：D", "D"},
      {"the answer is **B**", "B"},
      {"The answer is not known", ""},
      {"", ""}};
  for (const auto &[text, letter] : cases)
    EXPECT_EQ(eval::choice_letter(text, letters), letter) << text;
}

TEST(Extract, RegexBoxedCode) {
  const eval::FilterTable strict{"s", R"(#### \K-?[0-9.,]+)", eval::Extract::regex};
  EXPECT_EQ(eval::extract(strict, "a #### 12\nb #### -3,000", {}), "-3,000");
  EXPECT_EQ(eval::extract(strict, "12", {}), "");
  const eval::FilterTable boxed{"b", "", eval::Extract::boxed};
  EXPECT_EQ(eval::extract(boxed, "\\boxed{1}, \\boxed{a{b}c}", {}), "a{b}c");
  EXPECT_EQ(eval::extract(boxed, "\\boxed{open", {}), "");
  const eval::FilterTable code{"c", "", eval::Extract::code};
  EXPECT_EQ(eval::extract(code, "So:\n```python\nx = 1\n```\nDone", {}), "x = 1\n");
  EXPECT_EQ(eval::extract(code, "x = 1", {}), "x = 1");
  const eval::FilterTable line{"l", "", eval::Extract::first_line};
  EXPECT_EQ(eval::extract(line, "\n Paris \nB", {}), "Paris");
}

TEST(Compare, NormalisedWords) {
  EXPECT_EQ(eval::normalised("The  Cat's, a HAT."), "cats hat");
  EXPECT_DOUBLE_EQ(eval::word_f1("the red hat", "A red, red hat"),
                   2 * 1.0 * (2.0 / 3) / (1 + 2.0 / 3));
  EXPECT_DOUBLE_EQ(eval::word_f1("blue", "red"), 0);
  EXPECT_DOUBLE_EQ(eval::word_f1("the", "a"), 1) << "both are empty";
}

TEST(Compare, Drop) {
  const auto number = row(R"({"number": "15", "date": {"day": ""}, "spans": []})");
  EXPECT_EQ(eval::drop_score("15 seconds", number).exact, 0);
  EXPECT_NEAR(eval::drop_score("15 seconds", number).f1, 2.0 / 3, 1e-12);
  EXPECT_EQ(eval::drop_score("15.0", number).exact, 1);
  EXPECT_EQ(eval::drop_score("16", number).f1, 0);
  const auto two = row(R"({"number": "", "spans": ["the Heron", "Gull"]})");
  EXPECT_EQ(eval::drop_score("Heron", two).exact, 0);
  EXPECT_DOUBLE_EQ(eval::drop_score("Heron", two).f1, 0.5);
  const auto date =
      row(R"({"number": "", "date": {"day": "3", "month": "May", "year": "1911"}, "spans": []})");
  EXPECT_EQ(eval::drop_score("3 May 1911", date).exact, 1);
  EXPECT_EQ(eval::drop_score("May", date).f1, 0) << "a span with numbers needs one of them";
}

TEST(Compare, Mathematics) {
  const std::pair<const char *, const char *> same[] = {{"\\frac12", "0.5"},
                                                        {"1/2", "\\dfrac{1}{2}"},
                                                        {"$1{,}234$", "1,234"},
                                                        {"50\\%", "50"},
                                                        {"x=4", "4"},
                                                        {"5\\sqrt2", "5 \\sqrt{2}"},
                                                        {"90^\\circ", "90"},
                                                        {"12\\text{ cm}", "12"},
                                                        {"\\text{Monday}", "Monday"},
                                                        {"\\left(1,2\\right)", "(1, 2)"},
                                                        {"-\\frac{1}{4}", "-.25"},
                                                        {"2\\frac{1}{2}", "2.5"},
                                                        {"7.", "7"},
                                                        {"\\frac{-1}{2}", "-1/2"},
                                                        {"1,000", "1000.0"}};
  for (const auto &[a, b] : same) EXPECT_TRUE(reward::same_math(a, b)) << a << " " << b;
  const std::pair<const char *, const char *> other[] = {{"1", "2"}, {"(1,234)", "1234"},
                                                         {"", ""},   {"\\frac{1}{3}", "0.33"},
                                                         {"a", "b"}, {"1/0", "0"}};
  for (const auto &[a, b] : other) EXPECT_FALSE(reward::same_math(a, b)) << a << " " << b;
}

TEST(Statistics, MeansAndErrors) {
  const std::vector<double> values = {1, 0, 1, 1};
  EXPECT_DOUBLE_EQ(eval::mean(values), 0.75);
  EXPECT_DOUBLE_EQ(eval::standard_error(values), 0.25); // sqrt(0.75 / 3) / 2
  EXPECT_TRUE(std::isnan(eval::standard_error({1})));
}

TEST(Statistics, BootstrapOfAMeanIsItsStandardError) {
  std::vector<double> values;
  for (int i = 0; i < 100; ++i) values.push_back(i % 7);
  const auto statistic = [&](const std::vector<std::size_t> &drawn) {
    double sum = 0;
    for (const std::size_t i : drawn) sum += values[i];
    return sum / 100;
  };
  const double error = eval::bootstrap_error(100, 4000, 3, statistic);
  EXPECT_NEAR(error, eval::standard_error(values), 0.05 * error);
  EXPECT_EQ(error, eval::bootstrap_error(100, 4000, 3, statistic)) << "the seed is fixed";
  EXPECT_NE(error, eval::bootstrap_error(100, 4000, 4, statistic));
}

TEST(Statistics, PassAtK) {
  EXPECT_DOUBLE_EQ(eval::pass_at_k(5, 0, 1), 0);
  EXPECT_DOUBLE_EQ(eval::pass_at_k(5, 2, 1), 0.4);
  EXPECT_NEAR(eval::pass_at_k(5, 2, 2), 1 - 3.0 / 10, 1e-15); // C(3,2) / C(5,2)
  EXPECT_DOUBLE_EQ(eval::pass_at_k(5, 4, 2), 1);
  EXPECT_NEAR(eval::pass_at_k(200, 3, 100), 1 - (100.0 * 99 * 98) / (200.0 * 199 * 198), 1e-12);
}

TEST(Judge, ChoicesPlainAndByBytes) {
  eval::Question q;
  q.choices = {"x", "a longer one"}, q.gold = 1;
  const auto values = eval::judge_choice(q, {{-3, false}, {-6, true}});
  ASSERT_EQ(values.size(), 2U);
  EXPECT_EQ(values[0].above, 0); // -3 > -6
  EXPECT_EQ(values[1].above, 1); // -3 / 1 < -6 / 12
}

TEST(Judge, BitsPerByte) {
  const auto values = eval::judge_text("ab cd", -5 * std::log(2.0));
  eval::Sample sample{0, "", values, {}};
  const auto metrics = eval::summarise({&sample}, 100);
  EXPECT_NEAR(metrics[0].value, 1.0, 1e-15);
  EXPECT_NEAR(metrics[1].value, 2.0, 1e-15);
  EXPECT_NEAR(metrics[2].value, std::pow(2.0, 2.5), 1e-12);
}

bool follows(const std::string &id, const std::string &arguments, const std::string &answer) {
  const auto all = eval::read_instructions(
      record(R"({"instruction_id_list": [")" + id + R"("], "kwargs": [)" + arguments + "]}"));
  return eval::follows(all.at(0), answer);
}

TEST(Instructions, EachHoldsAndFails) {
  struct Case {
    const char *id, *arguments, *good, *bad;
  };
  const Case cases[] = {
      {"punctuation:no_comma", "{}", "a b", "a, b"},
      {"length_constraints:number_words", R"({"relation": "at least", "num_words": 3})", "a b c",
       "a b"},
      {"length_constraints:number_words", R"({"relation": "less than", "num_words": 3})", "a b",
       "a b c"},
      {"length_constraints:number_sentences", R"({"relation": "at least", "num_sentences": 2})",
       "A b. C d!", "A b, c 1.5"},
      {"length_constraints:number_paragraphs", R"({"num_paragraphs": 2})", "a\n***\nb", "a\n\nb"},
      {"length_constraints:nth_paragraph_first_word",
       R"({"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "end"})", "a\n\nEnd b",
       "a\n\nb end"},
      {"keywords:existence", R"({"keywords": ["oak", "elm"]})", "Oak and elm", "oak"},
      {"keywords:forbidden_words", R"({"forbidden_words": ["oak"]})", "soaked", "an oak"},
      {"keywords:frequency", R"({"keyword": "oak", "frequency": 2, "relation": "at least"})",
       "oak oak", "oak"},
      {"keywords:letter_frequency",
       R"({"letter": "z", "let_frequency": 2, "let_relation": "less than"})", "z", "zZ"},
      {"detectable_format:number_bullet_lists", R"({"num_bullets": 2})", "* a\n* b", "* a"},
      {"detectable_format:number_highlighted_sections", R"({"num_highlights": 2})", "*a* and **b**",
       "*a*"},
      {"detectable_format:multiple_sections", R"({"section_spliter": "Part", "num_sections": 2})",
       "Part 1\nx\nPart 2", "Part 1"},
      {"detectable_format:json_format", "{}", "```json\n{\"a\": 1}\n```", "a: 1"},
      {"detectable_format:title", "{}", "<<Oak>>\nx", "<Oak>"},
      {"detectable_format:constrained_response", "{}", "My answer is no.", "No."},
      {"detectable_content:number_placeholders", R"({"num_placeholders": 2})", "[a] [b]", "[a] b]"},
      {"detectable_content:postscript", R"({"postscript_marker": "P.S."})", "x\nP.S. y", "x"},
      {"combination:two_responses", "{}", "a\n******\nb", "a\n******\na"},
      {"combination:repeat_prompt", R"({"prompt_to_repeat": "Say it"})", "say it: x", "x"},
      {"startend:end_checker", R"({"end_phrase": "The end."})", "x. the end.", "the end. x"},
      {"startend:quotation", "{}", "\"x\"", "x"},
      {"change_case:english_lowercase", "{}", "abc", "aBc"},
      {"change_case:english_capital", "{}", "ABC 1", "ABc"},
      {"change_case:capital_word_frequency",
       R"({"capital_frequency": 2, "capital_relation": "at least"})", "AB CD e", "AB cd"}};
  std::set<std::string> seen;
  for (const Case &c : cases) {
    seen.insert(c.id);
    EXPECT_TRUE(follows(c.id, c.arguments, c.good)) << c.id;
    EXPECT_FALSE(follows(c.id, c.arguments, c.bad)) << c.id;
    EXPECT_FALSE(follows(c.id, c.arguments, "")) << c.id;
  }
  EXPECT_EQ(seen.size(), eval::known_instructions().size());
}

TEST(Instructions, LooselyAndFaults) {
  const auto comma = eval::read_instructions(
      record(R"({"instruction_id_list": ["startend:quotation"], "kwargs": [{}]})"))[0];
  EXPECT_FALSE(eval::follows(comma, "Sure!\n\"x\""));
  EXPECT_TRUE(eval::follows_loosely(comma, "Sure!\n\"x\""));
  EXPECT_FALSE(eval::follows_loosely(comma, "x"));
  expect_error([] { follows("punctuation:no_coma", "{}", "x"); }, "E311",
               "is punctuation:no_comma meant");
  expect_error([] { follows("keywords:existence", "{}", "x"); }, "E311", "keywords");
  expect_error(
      [] { eval::read_instructions(record(R"({"instruction_id_list": ["a"], "kwargs": []})")); },
      "E311", "file.jsonl:7");
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Character classes, the split rules by hand against PCRE2, and which patterns are accepted.
#include <algorithm>
#include <random>

#include <gtest/gtest.h>

#include "data/splitter.hpp"
#include "data/unicode.hpp"

namespace {

using data::unicode::Class;
using Ends = std::vector<std::uint32_t>;

std::string utf8(char32_t c) {
  std::string out;
  data::unicode::append_utf8(out, c);
  return out;
}

Ends split(const data::Splitter &splitter, std::string_view text) {
  Ends ends;
  splitter.split(text, ends);
  return ends;
}

std::vector<std::string> pieces(const data::Splitter &splitter, std::string_view text) {
  std::vector<std::string> out;
  std::size_t begin = 0;
  for (const std::uint32_t end : split(splitter, text)) {
    out.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return out;
}

const data::Splitter &by_hand() {
  static const data::Splitter value({data::deepseek_rules().begin(), data::deepseek_rules().end()});
  return value;
}

const data::Splitter &by_pcre2() {
  static const data::Splitter value({data::deepseek_rules().begin(), data::deepseek_rules().end()},
                                    false);
  return value;
}

TEST(Unicode, every_code_point_has_the_class_that_pcre2_gives_it) {
  std::string all;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) data::unicode::append_utf8(all, c);
  }
  const std::pair<const char *, std::vector<Class>> patterns[] = {
      {"\\p{L}+", {Class::letter}},
      {"\\p{M}+", {Class::mark}},
      {"\\p{N}+", {Class::number}},
      {"[\\p{P}\\p{S}]+", {Class::punct}},
      {"\\p{White_Space}+", {Class::space, Class::newline}}, // PCRE2's own name, against our list
      {"[^\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{White_Space}]+", {Class::other}},
  };
  std::size_t matched = 0;
  for (const auto &[pattern, classes] : patterns) {
    const data::Regex regex = data::Regex::compile(pattern);
    data::Regex::Match match;
    for (std::size_t from = 0; regex.find(all, from, match); from = match.end) {
      for (std::size_t i = match.begin; i < match.end; ++matched) {
        const auto [c, length] = data::unicode::decode(all.data() + i);
        const Class found = data::unicode::ClassTable::get().of(c);
        ASSERT_TRUE(std::ranges::count(classes, found))
            << "U+" << std::hex << static_cast<std::uint32_t>(c) << " " << pattern;
        i += static_cast<std::size_t>(length);
      }
    }
  }
  EXPECT_EQ(matched, 0x110000u - 0x800u); // each code point once
}

TEST(Unicode, finds_the_first_byte_that_is_not_utf8) {
  constexpr std::size_t fine = data::unicode::kValid;
  const auto at = [](std::string_view text) { return data::unicode::first_invalid(text); };
  EXPECT_EQ(at(""), fine);
  EXPECT_EQ(at(std::string_view("\0a", 2)), fine);
  EXPECT_EQ(at("plain text of some length, and ünïcödé 中文 😀"), fine);
  EXPECT_EQ(at(utf8(0xD7FF) + utf8(0xE000) + utf8(0x10FFFF)), fine);
  EXPECT_EQ(at("0123456789\x80"), 10u); // lone continuation
  EXPECT_EQ(at("ab\xC0\x80"), 2u);      // overlong
  EXPECT_EQ(at("ab\xC1\xBF"), 2u);
  EXPECT_EQ(at("\xE0\x9F\xBF"), 0u);     // overlong
  EXPECT_EQ(at("x\xED\xA0\x80"), 1u);    // surrogate
  EXPECT_EQ(at("\xF0\x8F\xBF\xBF"), 0u); // overlong
  EXPECT_EQ(at("\xF4\x90\x80\x80"), 0u); // above U+10FFFF
  EXPECT_EQ(at("\xF5\x80\x80\x80"), 0u);
  EXPECT_EQ(at("abc\xE4\xB8"), 3u); // cut
  EXPECT_EQ(at("\xE4\xB8\x41"), 0u);
}

TEST(Splitter, pieces_of_the_published_rules) {
  ASSERT_TRUE(by_hand().hand_written());
  ASSERT_FALSE(by_pcre2().hand_written());
  const std::pair<const char *, std::vector<std::string>> cases[] = {
      {"", {}},
      {"Hello, world!", {"Hello", ",", " world", "!"}},
      {"12345 x", {"123", "45", " x"}},
      {"a  b", {"a", " ", " b"}},
      {"a 1", {"a", " ", "1"}}, // white space ends at the cut of an earlier rule
      {"a  1", {"a", "  ", "1"}},
      {"don't stop", {"don", "'t", " stop"}},
      {"x_y", {"x", "_y"}},
      {"a.\n\n b", {"a", ".\n\n", " b"}},
      {"a \n \r\n  b", {"a", " \n \r\n", " ", " b"}},
      {"中文・テスト，好", {"中文", "・", "テスト", "，", "好"}},
      {"中a", {"中", "a"}}, // rule 2 cuts letters that rule 3 would join
      {"\x01\x01"
       "a\x01",
       {"\x01",
        "\x01"
        "a",
        "\x01"}},
      {"\ta", {"\ta"}},
      {"\na", {"\n", "a"}},
      {"e\u0301\u0301x", {"e\u0301\u0301x"}},
      {" €5", {" €", "5"}},
  };
  for (const auto &[text, expected] : cases) {
    EXPECT_EQ(pieces(by_hand(), text), expected) << text;
    EXPECT_EQ(pieces(by_pcre2(), text), expected) << text;
  }
}

// Random text that meets every alternative: a few characters of each class, white space, line ends,
// borders of the ranges.
std::string random_text(std::mt19937 &random, int kind) {
  static const char32_t often[] = {
      ' ',    ' ',     '\n',    '\r',   '\t',   'a',      'Z',     '1',     '9',    '.',
      '\'',   '_',     '$',     '<',    0x0,    0x1,      0x85,    0xA0,    0x301,  0xE9,
      0xBD,   0x2167,  0x663,   0x200B, 0x2028, 0x3000,   0x180E,  0x3007,  0x303F, 0x3040,
      0x309F, 0x30A0,  0x30FB,  0x30FF, 0x3100, 0x4DFF,   0x4E00,  0x9FA5,  0x9FA6, 0x20AC,
      0xFF0C, 0x1F600, 0x1D7CE, 0xE000, 0xFFFE, 0x10FFFF, 0x20000, 0xE0100, 0x378};
  const auto below = [&random](std::uint32_t n) {
    return static_cast<std::uint32_t>(random() % n);
  };
  std::string out;
  for (std::uint32_t length = below(60); length > 0; --length) {
    char32_t c = often[below(std::size(often))];
    if (kind == 1) c = below(0x250);
    if (kind == 2) c = below(0x110000);
    if (kind == 3) c = below(0x30000);
    if (kind == 4) c = often[below(12)];
    if (c >= 0xD800 && c <= 0xDFFF) c = 'x';
    data::unicode::append_utf8(out, c);
  }
  return out;
}

TEST(Splitter, by_hand_equals_pcre2_on_random_text) {
  std::mt19937 random(20250101);
  for (int i = 0; i < 60000; ++i) {
    const std::string text = random_text(random, i % 5);
    const Ends expected = split(by_pcre2(), text);
    ASSERT_EQ(split(by_hand(), text), expected) << text;
    if (!text.empty()) {
      ASSERT_EQ(expected.back(), text.size());
    }
  }
}

TEST(Splitter, long_runs_cost_no_more_than_their_length) {
  const std::size_t length = 1 << 20;
  for (const char *unit : {" ", "a", "1", ".", "\n", " \n", "\x01", "中", "\u00a0", "a "}) {
    std::string text;
    while (text.size() < length) text += unit;
    text += "x";
    EXPECT_EQ(split(by_hand(), text), split(by_pcre2(), text)) << unit;
  }
}

TEST(Splitter, other_patterns_than_the_published_ones) {
  const data::Splitter gpt2({{data::kByteLevelPattern}});
  EXPECT_EQ(
      pieces(gpt2, "we've 12 cats!!  ok\u180Eok"),
      (std::vector<std::string>{"we", "'ve", " 12", " cats", "!!", " ", " ok", "\u180E", "ok"}));
  const data::Splitter literal({{".", true}});
  EXPECT_EQ(pieces(literal, "a..b"), (std::vector<std::string>{"a", ".", ".", "b"}));
  const data::Splitter caseless({{"(?i:'s|'t)|\\p{L}+"}});
  EXPECT_EQ(pieces(caseless, "IT'S"), (std::vector<std::string>{"IT", "'S"}));
  const data::Splitter none({});
  EXPECT_EQ(pieces(none, "a b"), (std::vector<std::string>{"a b"}));
}

TEST(Splitter, patterns_that_mean_something_else_are_refused) {
  for (const char *pattern :
       {"\\w+",   "\\bx",  "\\h",     "\\R",    "(a)\\1",  "[[a]b]", "[[:alpha:]]", "[a&&b]",
        "a{,3}",  "a{2}+", "a*",      "x|",     "(?<n>a)", "(?R)",   "(*UTF)a",     "\\p{Foo}",
        "\\pL",   "\\xE9", "\\u12",   "[a",     "a)",      "(a",     "[\\S]",       "a\\",
        "(?x) a", "[]a]",  "[a-\\s]", "(?C1)a", "\\Qa\\E", "{",      "\\x{zz}"}) {
    EXPECT_THROW(data::Splitter({{pattern}}), data::PatternError) << pattern;
  }
  for (const char *pattern : {"\\p{Lu}", "\\p{^L}", "\\P{L}", "[^\\s\\p{Han}]+", "\\u4E00",
                              "\\x{4e00}", "\\x41", "a{1,3}", "a{2,}?", "(?>a|b)", "(?<=a)b",
                              "(?<!a)b", "[\\-\\]a]", "\\S+", "[\\s-]", "^a$"}) {
    EXPECT_NO_THROW(data::Splitter({{pattern}})) << pattern;
  }
}

} // namespace

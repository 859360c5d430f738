// SPDX-License-Identifier: Apache-2.0
#include "eval/answers.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <set>

#include <fmt/format.h>

#include "data/regex.hpp"

namespace eval {

using data::Json;

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || static_cast<unsigned char>(c) >= 0x80;
}

// The label that stands at `at` with no letter or digit behind it, "" if none. The longest first.
std::string label_at(std::string_view text, std::size_t at,
                     const std::vector<std::string> &letters) {
  std::string found;
  for (const std::string &one : letters) {
    if (one.size() <= found.size() || !text.substr(at).starts_with(one)) continue;
    const std::size_t end = at + one.size();
    if (end == text.size() || !is_word(text[end])) found = one;
  }
  return found;
}

} // namespace

std::string choice_letter(std::string_view text, const std::vector<std::string> &letters) {
  std::string lower(text);
  for (char &c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const std::string_view phrase : {"answer", "答案"})
    for (std::size_t at = lower.rfind(phrase); at != std::string::npos;
         at = at == 0 ? std::string::npos : lower.rfind(phrase, at - 1)) {
      std::size_t next = at + phrase.size();
      for (const std::string_view word : {" is", " was", "是", "为", "选"})
        if (lower.compare(next, word.size(), word) == 0) next += word.size();
      for (const std::string_view mark :
           {":", "：", " ", "\n", "*", "*", "(", "（", "\\boxed{", "*"})
        while (lower.compare(next, mark.size(), mark) == 0) next += mark.size();
      if (next >= text.size()) continue;
      if (const std::string found = label_at(text, next, letters); !found.empty()) return found;
    }
  std::size_t at = text.find_first_not_of(" \t\r\n*([");
  if (at == std::string_view::npos) return {};
  const std::string found = label_at(text, at, letters);
  if (found.empty()) return {};
  at += found.size();
  // "A." and "A)" are a label; "A dog" is not.
  const bool alone = at == text.size() || text[at] != ' ';
  return alone ? found : std::string();
}

std::string extract(const FilterTable &filter, std::string_view text,
                    const std::vector<std::string> &letters) {
  std::string out;
  switch (filter.extract) {
  case Extract::none: return std::string(text);
  case Extract::first_line: {
    const std::string all = trimmed(text);
    return trimmed(std::string_view(all).substr(0, all.find('\n')));
  }
  case Extract::number: return last_number(text);
  case Extract::letter: return choice_letter(text, letters);
  case Extract::boxed: return last_boxed(text, out) ? out : std::string();
  case Extract::regex:
    return trimmed(reward::last_match(data::Regex::compile(filter.pattern), text));
  case Extract::code: return code_block(text);
  }
  return out;
}

namespace {

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      if (!word.empty()) out.push_back(std::move(word));
      word.clear();
    } else {
      word += c;
    }
  }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

bool is_punctuation(char c) {
  return static_cast<unsigned char>(c) < 0x80 && std::ispunct(static_cast<unsigned char>(c)) != 0;
}

bool is_article(const std::string &word) { return word == "a" || word == "an" || word == "the"; }

std::string joined(const std::vector<std::string> &list) {
  std::string out;
  for (const std::string &one : list) out += (out.empty() ? "" : " ") + one;
  return out;
}

double bag_f1(const std::vector<std::string> &said, const std::vector<std::string> &gold) {
  if (said.empty() || gold.empty()) return said.size() == gold.size() ? 1 : 0;
  std::map<std::string, long> left;
  for (const std::string &word : gold) ++left[word];
  double common = 0;
  for (const std::string &word : said)
    if (left[word]-- > 0) ++common;
  if (common == 0) return 0;
  const double precision = common / static_cast<double>(said.size());
  const double recall = common / static_cast<double>(gold.size());
  return 2 * precision * recall / (precision + recall);
}

} // namespace

std::string normalised(std::string_view text) {
  std::string plain;
  for (const char c : text)
    if (!is_punctuation(c)) plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::vector<std::string> list = words(plain);
  std::erase_if(list, is_article);
  return joined(list);
}

double word_f1(std::string_view said, std::string_view gold) {
  return bag_f1(words(normalised(said)), words(normalised(gold)));
}

namespace {

bool as_number(const std::string &word, double &value) {
  if (word.empty()) return false;
  std::string digits = word;
  std::erase(digits, ',');
  for (const char c : digits)
    if (!is_digit(c) && c != '.' && c != '-' && c != '+') return false; // no nan, inf, hex
  char *end = nullptr;
  value = std::strtod(digits.c_str(), &end);
  return end == digits.c_str() + digits.size() && end != digits.c_str();
}

// Words as DROP compares them: split at blanks and dashes, punctuation off unless the word is a number, numbers in one form.
std::vector<std::string> drop_words(std::string_view text) {
  std::string spread;
  for (const char c : text)
    spread += c == '-' && !spread.empty() && is_word(spread.back()) ? ' ' : c;
  std::vector<std::string> out;
  for (std::string word : words(spread)) {
    for (char &c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    double value = 0;
    if (!as_number(word, value)) {
      std::erase_if(word, is_punctuation);
      if (!as_number(word, value)) {
        if (!word.empty() && !is_article(word)) out.push_back(word);
        continue;
      }
    }
    out.push_back(fmt::format("{}", value));
  }
  std::sort(out.begin(), out.end()); // a set, as the published scorer has it
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

std::set<std::string> numbers_in(const std::vector<std::string> &bag) {
  std::set<std::string> out;
  double value = 0;
  for (const std::string &word : bag)
    if (as_number(word, value)) out.insert(word);
  return out;
}

} // namespace

std::vector<std::string> drop_spans(const Json &answer) {
  std::vector<std::string> spans;
  std::string text;
  if (const Json *number = answer.find("number");
      number != nullptr && scalar_text(*number, text) && !text.empty())
    return {text};
  if (const Json *list = answer.find("spans"))
    if (const auto *array = list->as<Json::Array>())
      for (const Json &one : *array)
        if (scalar_text(one, text)) spans.push_back(text);
  if (!spans.empty()) return spans;
  std::string date;
  if (const Json *parts = answer.find("date"))
    for (const char *part : {"day", "month", "year"})
      if (const Json *one = parts->find(part);
          one != nullptr && scalar_text(*one, text) && !text.empty())
        date += (date.empty() ? "" : " ") + text;
  if (!date.empty()) spans.push_back(date);
  return spans;
}

// What was said is one span; the golden spans share it: the best match over the longer of both lists. A span with numbers needs one
// of them.
DropScore drop_score(std::string_view said, const Json &answer) {
  const std::vector<std::string> spans = drop_spans(answer);
  if (spans.empty()) return {};
  const auto mine = drop_words(said);
  const auto my_numbers = numbers_in(mine);
  double best = 0;
  bool exact = false;
  for (const std::string &span : spans) {
    const auto theirs = drop_words(span);
    const auto their_numbers = numbers_in(theirs);
    const bool meets =
        their_numbers.empty() || std::any_of(their_numbers.begin(), their_numbers.end(),
                                             [&](const auto &n) { return my_numbers.contains(n); });
    if (meets) best = std::max(best, bag_f1(mine, theirs));
    exact = exact || joined(mine) == joined(theirs);
  }
  const double f1 = best / static_cast<double>(spans.size());
  return {exact && spans.size() == 1 ? 1.0 : 0.0, f1};
}

} // namespace eval

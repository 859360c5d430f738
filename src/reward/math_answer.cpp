// SPDX-License-Identifier: Apache-2.0
#include "reward/math_answer.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

namespace reward {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }

void replace_all(std::string &text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos;
       at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// A command without its argument's braces: \text{cm} with keep = false goes, with keep = true is cm.
void unwrap(std::string &text, std::string_view command, bool keep) {
  for (std::size_t at = text.find(command); at != std::string::npos; at = text.find(command, at)) {
    std::size_t open = at + command.size();
    while (open < text.size() && text[open] == ' ') ++open;
    if (open >= text.size() || text[open] != '{') {
      at += command.size();
      continue;
    }
    int depth = 0;
    std::size_t end = open;
    for (; end < text.size(); ++end) {
      depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
      if (depth == 0) break;
    }
    const std::string inside = text.substr(open + 1, end - open - 1);
    text.replace(at, std::min(end + 1, text.size()) - at, keep ? inside : "");
  }
}

// \frac12, \frac1{2}, \frac{1}2 and \sqrt3 with all their braces.
void add_braces(std::string &text, std::string_view command, int arguments) {
  for (std::size_t at = text.find(command); at != std::string::npos;
       at = text.find(command, at + command.size())) {
    std::size_t next = at + command.size();
    for (int argument = 0; argument < arguments && next < text.size(); ++argument) {
      if (text[next] == '{') {
        int depth = 0;
        for (; next < text.size(); ++next) {
          depth += text[next] == '{' ? 1 : text[next] == '}' ? -1 : 0;
          if (depth == 0) break;
        }
        ++next;
      } else if (is_digit(text[next]) || is_letter(text[next])) {
        text.insert(next + 1, "}");
        text.insert(next, "{");
        next += 3;
      } else {
        break;
      }
    }
  }
}

// a/b of two whole numbers as the whole answer.
void slash(std::string &text) {
  const std::size_t at = text.find('/');
  if (at == std::string::npos || at == 0 || at + 1 == text.size()) return;
  const bool minus = text[0] == '-';
  const std::string top = text.substr(minus ? 1 : 0, at - (minus ? 1 : 0)),
                    bottom = text.substr(at + 1);
  const auto digits = [](const std::string &part) {
    return !part.empty() && std::all_of(part.begin(), part.end(), is_digit);
  };
  if (digits(top) && digits(bottom))
    text = std::string(minus ? "-" : "") + "\\frac{" + top + "}{" + bottom + "}";
}

// Commas between groups of three digits; others (tuples, intervals) stay.
void thousands(std::string &text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](std::size_t at) { return at < text.size() && is_digit(text[at]); };
    const bool group = text[i] == ',' && i > 0 && digit(i - 1) && digit(i + 1) && digit(i + 2) &&
                       digit(i + 3) && !digit(i + 4);
    if (!group) out += text[i];
  }
  // (1,234) is a pair, not a number.
  if (text.find_first_of("([{|") == std::string::npos) text = out;
}

std::string without_sides(std::string text) {
  const std::size_t equals = text.find('=');
  if (equals != std::string::npos && text.find('=', equals + 1) == std::string::npos && equals <= 2)
    text = text.substr(equals + 1);
  return text;
}

} // namespace

std::string math_spelling(std::string_view answer) {
  std::string text(answer);
  for (const char *gone :
       {"\\!", "\\,", "\\;", "\\:", "\\ ", "\\left", "\\right", "\\$", "$", "\\%", "%", "^\\circ",
        "^{\\circ}", "\\degree", "€", "£", "\\displaystyle", "{,}"})
    replace_all(text, gone, "");
  for (const char *name : {"\\dfrac", "\\tfrac", "\\cfrac"}) replace_all(text, name, "\\frac");
  unwrap(text, "\\boxed", true);
  // Behind a number \text{...} is a unit, alone it is the answer.
  const std::string before = text;
  unwrap(text, "\\text", false);
  unwrap(text, "\\mbox", false);
  if (std::all_of(text.begin(), text.end(), [](char c) { return c == ' '; })) text = before;
  for (const char *name : {"\\text", "\\mbox", "\\mathrm", "\\textbf", "\\mathbf"})
    unwrap(text, name, true);
  for (const char *blank : {" ", "\n", "\t", "\r", "~"}) replace_all(text, blank, "");
  text = without_sides(text);
  while (text.ends_with('.')) text.pop_back();
  add_braces(text, "\\frac", 2);
  add_braces(text, "\\sqrt", 1);
  slash(text);
  thousands(text);
  if (text.starts_with("+")) text.erase(0, 1);
  for (std::size_t at = text.find('.'); at != std::string::npos; at = text.find('.', at + 2))
    if ((at == 0 || !is_digit(text[at - 1])) && at + 1 < text.size() && is_digit(text[at + 1]))
      text.insert(at, "0");
  return text;
}

namespace {

std::optional<double> plain_number(const std::string &digits) {
  if (digits.empty() || !is_digit(digits[0])) return {};
  if (digits.find_first_not_of("0123456789.") != std::string::npos) return {};
  char *end = nullptr;
  const double value = std::strtod(digits.c_str(), &end);
  if (end != digits.c_str() + digits.size()) return {};
  return value;
}

// 1.5e3, 1.5\times10^{3}
std::optional<double> power_of_ten(const std::string &text) {
  for (const std::string_view mark : {"\\times10^", "\\cdot10^", "e", "E"}) {
    const std::size_t at = text.find(mark);
    if (at == std::string::npos) continue;
    std::string exponent = text.substr(at + mark.size());
    if (exponent.size() > 2 && exponent.front() == '{' && exponent.back() == '}')
      exponent = exponent.substr(1, exponent.size() - 2);
    const bool minus = exponent.starts_with('-');
    if (minus || exponent.starts_with('+')) exponent.erase(0, 1);
    const bool whole = !exponent.empty() && exponent.size() < 4 &&
                       std::all_of(exponent.begin(), exponent.end(), is_digit);
    const auto head = plain_number(text.substr(0, at));
    if (!head || !whole) return {};
    return *head *
           std::pow(10.0, minus ? -std::atoi(exponent.c_str()) : std::atoi(exponent.c_str()));
  }
  return {};
}

// "12cm^{2}", "3squarefeet" without the unit; the same text where none is known.
std::string without_unit(const std::string &spelling) {
  static const char *const units[] = {
      "mm",     "cm",      "dm",    "km",     "ft",     "kg",      "mg",     "ml",      "mph",
      "meter",  "meters",  "metre", "metres", "inch",   "inches",  "foot",   "feet",    "yard",
      "yards",  "mile",    "miles", "gram",   "grams",  "pound",   "pounds", "ounce",   "ounces",
      "liter",  "liters",  "litre", "litres", "second", "seconds", "minute", "minutes", "hour",
      "hours",  "day",     "days",  "week",   "weeks",  "month",   "months", "year",    "years",
      "dollar", "dollars", "cent",  "cents",  "euro",   "euros",   "degree", "degrees", "percent",
      "unit",   "units",   "point", "points"};
  const std::size_t last = spelling.find_last_of("0123456789}", spelling.find_last_not_of("^{}23"));
  if (last == std::string::npos) return spelling;
  std::string unit = spelling.substr(last + 1);
  unit = unit.substr(0, unit.find('^'));
  for (const std::string_view word : {"square", "sq", "cubic"})
    if (unit.starts_with(word)) unit.erase(0, word.size());
  for (const char *one : units)
    if (unit == one) return spelling.substr(0, last + 1);
  return spelling;
}

// Digits of a whole number in one form, "" where it is none.
std::string whole_number(std::string text) {
  const bool minus = text.starts_with('-');
  if (minus) text.erase(0, 1);
  if (text.empty() || !std::all_of(text.begin(), text.end(), is_digit)) return {};
  text.erase(0, std::min(text.find_first_not_of('0'), text.size() - 1));
  return (minus && text != "0" ? "-" : "") + text;
}

} // namespace

std::optional<double> math_value(const std::string &spelling) {
  std::string text = spelling;
  double sign = 1;
  if (text.starts_with('-')) sign = -1, text.erase(0, 1);
  if (const auto plain = plain_number(text)) return sign * *plain;
  if (const auto scientific = power_of_ten(text)) return sign * *scientific;
  // 2\frac{1}{3}: a mixed number.
  const std::size_t at = text.find("\\frac{");
  const std::size_t middle = text.find("}{");
  if (at == std::string::npos || middle == std::string::npos || middle < at || !text.ends_with('}'))
    return {};
  double whole = 0;
  if (at > 0) {
    const auto head = plain_number(text.substr(0, at));
    if (!head) return {};
    whole = *head;
  }
  std::string top_text = text.substr(at + 6, middle - at - 6);
  if (at == 0 && top_text.starts_with('-')) sign = -sign, top_text.erase(0, 1);
  const auto top = plain_number(top_text),
             bottom = plain_number(text.substr(middle + 2, text.size() - middle - 3));
  if (!top || !bottom || *bottom == 0) return {};
  return sign * (whole + *top / *bottom);
}

bool same_math(std::string_view a, std::string_view b) {
  constexpr std::size_t kLongest = 4096; // no answer; the work below grows faster than the text
  if (a.size() > kLongest || b.size() > kLongest) return false;
  std::string one = math_spelling(a), other = math_spelling(b);
  if (one.empty() || other.empty()) return false;
  if (one == other) return true;
  auto x = math_value(one), y = math_value(other);
  if (x && !y) other = without_unit(other), y = math_value(other);
  if (y && !x) one = without_unit(one), x = math_value(one);
  if (!x || !y) return false;
  const std::string m = whole_number(one), n = whole_number(other);
  if (!m.empty() && !n.empty()) return m == n;
  return std::abs(*x - *y) <= 1e-9 * std::max(1.0, std::max(std::abs(*x), std::abs(*y)));
}

} // namespace reward

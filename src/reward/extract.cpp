// SPDX-License-Identifier: Apache-2.0
#include "reward/extract.hpp"

#include <algorithm>
#include <cctype>
#include <vector>

namespace reward {

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1));
}

bool last_boxed(std::string_view text, std::string &out) {
  std::size_t at = std::string_view::npos, length = 0;
  for (const std::string_view word : {"\\boxed", "\\fbox"})
    if (const std::size_t found = text.rfind(word);
        found != std::string_view::npos && (at == std::string_view::npos || found > at))
      at = found, length = word.size();
  if (at == std::string_view::npos) return false;
  std::string_view rest = text.substr(at + length);
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  if (!rest.starts_with('{')) { // \boxed 5
    out = trimmed(rest.substr(0, rest.find_first_of("$\n,")));
    return !out.empty();
  }
  int depth = 0;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    depth += rest[i] == '{' ? 1 : rest[i] == '}' ? -1 : 0;
    if (depth > 0) continue;
    out = std::string(rest.substr(1, i - 1));
    return true;
  }
  return false; // never closed
}

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || static_cast<unsigned char>(c) >= 0x80;
}

} // namespace

std::string last_match(const data::Regex &regex, std::string_view text, bool *too_hard) {
  data::Regex::Match match;
  std::string last;
  try {
    for (std::size_t from = 0; from <= text.size() && regex.find(text, from, match);) {
      last = std::string(text.substr(match.begin, match.end - match.begin));
      from = match.end > from ? match.end : from + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0) == 0x80) ++from;
    }
  } catch (const data::PatternError &) {
    if (too_hard != nullptr) *too_hard = true;
    return last; // too many steps on this text: what was found so far
  }
  return last;
}

std::string last_number(std::string_view text) {
  std::string last;
  for (std::size_t at = 0; at < text.size();) {
    if (!is_digit(text[at])) {
      ++at;
      continue;
    }
    std::size_t begin = at, end = at;
    bool point = false;
    for (; end < text.size(); ++end) {
      const bool more = end + 1 < text.size() && is_digit(text[end + 1]);
      if (is_digit(text[end]) || (text[end] == ',' && more && !point)) continue;
      if (text[end] != '.' || !more || point) break;
      point = true;
    }
    if (begin > 0 && text[begin - 1] == '.' && (begin < 2 || !is_word(text[begin - 2])) && !point)
      --begin; // .5
    // A sign, not the dash of "3-4" or "x-4".
    if (begin > 0 && text[begin - 1] == '-' && (begin < 2 || !is_word(text[begin - 2]))) --begin;
    last = std::string(text.substr(begin, end - begin));
    at = end;
  }
  std::erase(last, ',');
  return last;
}

std::string code_block(std::string_view text) {
  const std::size_t open = text.find("```");
  if (open == std::string_view::npos) return std::string(text);
  const std::size_t line = text.find('\n', open);
  if (line == std::string_view::npos) return {};
  const std::size_t close = text.find("```", line);
  return std::string(
      text.substr(line + 1, close == std::string_view::npos ? close : close - line - 1));
}

std::string last_code_block(std::string_view text) {
  std::string found;
  bool any = false;
  for (std::size_t at = text.find("```"); at != std::string_view::npos; at = text.find("```", at)) {
    const std::size_t line = text.find('\n', at);
    if (line == std::string_view::npos) break;
    const std::size_t close = text.find("```", line);
    found = std::string(
        text.substr(line + 1, close == std::string_view::npos ? close : close - line - 1));
    any = true;
    if (close == std::string_view::npos) break;
    at = close + 3;
  }
  return any ? found : std::string(text);
}

std::string last_line(std::string_view text) {
  const std::string all = trimmed(text);
  return trimmed(std::string_view(all).substr(all.rfind('\n') + 1));
}

} // namespace reward

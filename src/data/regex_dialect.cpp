// SPDX-License-Identifier: Apache-2.0
// Patterns of tokenizer.json are Oniguruma's (Ruby syntax). They are read piece by piece; what
// PCRE2 understands otherwise is rewritten or refused by name, so that a pattern never silently
// splits differently.
#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "data/regex.hpp"

namespace data {

namespace {

constexpr std::array<std::string_view, 37> kCategories = {
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
    "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi",
    "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};
// PCRE2 takes a bare script name as its extensions too, Oniguruma as the script alone.
constexpr std::array<std::string_view, 14> kScripts = {
    "Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Georgian", "Greek",
    "Han",    "Hangul",   "Hebrew",  "Hiragana", "Katakana",   "Latin",    "Thai"};

// The inside of kWhiteSpacePattern, for use within a class.
std::string white_space_ranges() {
  std::string_view whole = kWhiteSpacePattern;
  return std::string(whole.substr(1, whole.size() - 2));
}

class Translator {
public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  std::string run() {
    while (!at_end()) {
      const char c = in_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        interval();
      } else {
        out_.push_back(c);
        ++at_;
      }
    }
    return out_;
  }

private:
  bool at_end() const { return at_ >= in_.size(); }
  bool next_is(std::string_view text) const { return in_.substr(at_).starts_with(text); }
  [[noreturn]] void refuse(std::string_view what) const {
    throw PatternError(fmt::format("{} is not accepted (at character {})", what, at_));
  }

  // \x..., \p{...}, \s and the like; in a class \s gives its ranges.
  void escape(bool in_class) {
    if (at_ + 1 >= in_.size()) refuse("a lone backslash at the end");
    const char c = in_[at_ + 1];
    if (c == 'p' || c == 'P') return property();
    if (c == 'u' || c == 'x') return code_point();
    if (static_cast<unsigned char>(c) >= 0x80)
      refuse("a backslash before a character that needs none");
    if (c == 's' || (c == 'S' && !in_class)) {
      const bool range_begin =
          in_.substr(at_ + 2).starts_with('-') && !in_.substr(at_ + 2).starts_with("-]");
      if (in_class && (range_begin || (out_.ends_with('-') && !out_.ends_with("[-"))))
        refuse("\\s as the end of a range");
      if (c == 'S') {
        out_ += "[^";
      } else if (!in_class) {
        out_ += '[';
      }
      out_ += white_space_ranges();
      if (!in_class) out_ += ']';
      at_ += 2;
      return;
    }
    const bool letter = std::isalnum(static_cast<unsigned char>(c)) != 0;
    const std::string_view same = in_class ? "rntfavdD" : "rntfavdDAz";
    if (letter && same.find(c) == std::string_view::npos) refuse(fmt::format("\\{}", c));
    if (c == 'v') {
      out_ += "\\x0b"; // Oniguruma: vertical tab; PCRE2: any vertical space
    } else {
      out_.append(in_.substr(at_, 2));
    }
    at_ += 2;
  }

  void property() {
    const std::size_t close = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || close == std::string_view::npos)
      refuse("\\p without {name}");
    bool negated = in_[at_ + 1] == 'P';
    std::string_view name = in_.substr(at_ + 3, close - at_ - 3);
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    const bool script = std::find(kScripts.begin(), kScripts.end(), name) != kScripts.end();
    if (!script && std::find(kCategories.begin(), kCategories.end(), name) == kCategories.end()) {
      refuse(fmt::format("the property \\p{{{}}}", name));
    }
    out_ += fmt::format("\\{}{{{}{}}}", negated ? 'P' : 'p', script ? "sc:" : "", name);
    at_ = close + 1;
  }

  // \uHHHH, \x{H...} and \xHH below 80 (above, Oniguruma means a byte).
  void code_point() {
    std::string_view digits;
    std::size_t used = 0;
    if (in_[at_ + 1] == 'u') {
      digits = in_.substr(at_ + 2, 4);
      used = 6;
      if (digits.size() != 4) digits = {};
    } else if (next_is("\\x{")) {
      const std::size_t close = in_.find('}', at_);
      if (close != std::string_view::npos) digits = in_.substr(at_ + 3, close - at_ - 3);
      used = 4 + digits.size();
    } else {
      digits = in_.substr(at_ + 2, 2);
      used = 4;
      if (digits.size() != 2 || digits[0] > '7') digits = {};
    }
    const bool hexadecimal = std::all_of(digits.begin(), digits.end(), [](char c) {
      return std::isxdigit(static_cast<unsigned char>(c)) != 0;
    });
    if (digits.empty() || digits.size() > 6 || !hexadecimal)
      refuse("this way of writing a character");
    out_ += fmt::format("\\x{{{}}}", digits);
    at_ += used;
  }

  void character_class() {
    out_.push_back('[');
    ++at_;
    if (next_is("^")) {
      out_.push_back('^');
      ++at_;
    }
    if (next_is("]")) refuse("an empty class, or ] as its first character without a backslash,");
    while (!at_end() && in_[at_] != ']') {
      if (in_[at_] == '[') refuse("a class within a class");
      if (next_is("&&")) refuse("&& (intersection) in a class");
      if (in_[at_] == '\\') {
        escape(true);
      } else {
        out_.push_back(in_[at_++]);
      }
    }
    if (at_end()) refuse("a class without its ]");
    out_.push_back(']');
    ++at_;
  }

  void group() {
    if (next_is("(*")) refuse("(*");
    if (next_is("(?")) {
      constexpr std::array<std::string_view, 8> known = {
          "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)"};
      const auto found = std::find_if(known.begin(), known.end(),
                                      [this](std::string_view k) { return next_is(k); });
      if (found == known.end()) refuse(fmt::format("the group {}", in_.substr(at_, 4)));
      if (*found == "(?i)" && at_ != 0) refuse("(?i) other than at the beginning");
      out_ += *found;
      at_ += found->size();
      return;
    }
    out_.push_back('(');
    ++at_;
  }

  // {n}, {n,}, {n,m}; {,m} differs between the dialects and versions, and so does a + behind the
  // brace.
  void interval() {
    const std::size_t close = in_.find('}', at_);
    if (close == std::string_view::npos) refuse("{ without }");
    const std::string_view inside = in_.substr(at_ + 1, close - at_ - 1);
    const bool numbers = std::all_of(inside.begin(), inside.end(), [](char c) {
      return c == ',' || std::isdigit(static_cast<unsigned char>(c));
    });
    if (inside.empty() || inside[0] == ',' || !numbers) refuse(fmt::format("{{{}}}", inside));
    out_.append(in_.substr(at_, close + 1 - at_));
    at_ = close + 1;
    if (next_is("+")) refuse("+ behind {}");
    if (next_is("?") && inside.find(',') == std::string_view::npos) refuse("? behind {n}");
  }

  std::string_view in_;
  std::size_t at_ = 0;
  std::string out_;
};

} // namespace

std::string pattern_for_pcre2(std::string_view pattern) { return Translator(pattern).run(); }

} // namespace data

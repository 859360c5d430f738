// SPDX-License-Identifier: Apache-2.0
#pragma once
// Regular expressions of tokenizer files, run by PCRE2 (UTF, Unicode properties, just-in-time
// compiled).
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace data {

// A pattern that we do not accept; what() says which part and why, in words for the user.
class PatternError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

// Unicode White_Space, as one class: PCRE2's own \s has U+180E too.
inline constexpr const char *kWhiteSpacePattern =
    "[\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{"
    "205f}\\x{3000}]";

// Rewrites a pattern of the dialect of tokenizer.json (Oniguruma) for PCRE2. Only what means the
// same in both, or can be rewritten so, is accepted (docs/tokenizer.md lists it); the rest throws
// PatternError.
std::string pattern_for_pcre2(std::string_view pattern);

class Regex {
public:
  struct Match {
    std::size_t begin = 0, end = 0;
  };
  // Throws PatternError: not a PCRE2 pattern, or one that can match nothing at all. literal: the
  // text itself.
  static Regex compile(std::string_view pcre2_pattern, bool literal = false);
  // The first match at or after `from` (valid UTF-8, character border). Thread-safe. Throws
  // PatternError when PCRE2's limits on steps or memory are passed.
  bool find(std::string_view subject, std::size_t from, Match &match) const;

private:
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

} // namespace data

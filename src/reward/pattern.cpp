// SPDX-License-Identifier: Apache-2.0
#include "reward/pattern.hpp"

#include "data/unicode.hpp"

namespace reward {

namespace {

data::Regex compile(const std::string &pattern, bool whole) {
  data::Regex alone = data::Regex::compile(
      pattern); // first, so that a place in a message is one of the user's pattern
  return whole ? data::Regex::compile("\\A(?:" + pattern + ")\\z") : alone;
}

} // namespace

Pattern::Pattern(const std::string &pattern, bool whole) : regex_(compile(pattern, whole)) {}

Pattern::Verdict Pattern::test(std::string_view utf8) const {
  try {
    data::Regex::Match match;
    return regex_.find(utf8, 0, match) ? Verdict::yes : Verdict::no;
  } catch (const data::PatternError &) {
    return Verdict::too_hard;
  }
}

std::string valid_text(std::string_view bytes) {
  std::string out;
  for (;;) {
    const std::size_t bad = data::unicode::first_invalid(bytes);
    if (bad == data::unicode::kValid) return out.append(bytes);
    out.append(bytes.substr(0, bad)).append("\xEF\xBF\xBD");
    bytes.remove_prefix(bad + 1);
  }
}

} // namespace reward

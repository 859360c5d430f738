// SPDX-License-Identifier: Apache-2.0
#include "data/splitter.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace data {

std::span<const SplitRule> deepseek_rules() {
  static const std::array<SplitRule, 3> rules = {
      SplitRule{"\\p{N}{1,3}"},
      SplitRule{"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+"},
      SplitRule{"[!\"#$%&'()*+,\\-./"
                ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
                " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"},
  };
  return rules;
}

Splitter::Splitter(std::vector<SplitRule> rules, bool allow_scanner) {
  hand_written_ = allow_scanner && std::ranges::equal(rules, deepseek_rules());
  if (hand_written_) return;
  for (const SplitRule &rule : rules) {
    try {
      regexes_.push_back(Regex::compile(
          rule.literal ? rule.pattern : pattern_for_pcre2(rule.pattern), rule.literal));
    } catch (const PatternError &error) {
      throw PatternError(fmt::format("pattern {}: {}", rule.pattern, error.what()));
    }
  }
}

void Splitter::split(std::string_view text, std::vector<std::uint32_t> &ends) const {
  if (hand_written_) {
    deepseek_split(text, ends);
  } else if (!text.empty()) {
    apply(0, text, 0, text.size(), ends);
  }
}

void Splitter::apply(std::size_t rule, std::string_view text, std::size_t begin, std::size_t end,
                     std::vector<std::uint32_t> &ends) const {
  if (rule == regexes_.size()) {
    ends.push_back(static_cast<std::uint32_t>(end));
    return;
  }
  const std::string_view piece =
      text.substr(begin, end - begin); // alone, so that look-around ends at its borders
  std::size_t from = 0;
  Regex::Match match;
  while (from < piece.size() && regexes_[rule].find(piece, from, match)) {
    if (match.begin > from) apply(rule + 1, text, begin + from, begin + match.begin, ends);
    if (match.end > match.begin)
      apply(rule + 1, text, begin + match.begin, begin + match.end, ends);
    from = match.end;
  }
  if (from < piece.size()) apply(rule + 1, text, begin + from, end, ends);
}

} // namespace data

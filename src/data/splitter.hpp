// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cuts text into the pieces within which byte pairs are merged. A rule is a Split of behaviour
// Isolated: it cuts every piece there is into its matches and the gaps between them and keeps both;
// later rules never see across an earlier cut.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/regex.hpp"

namespace data {

struct SplitRule {
  std::string pattern;  // as in the file
  bool literal = false; // the text itself, not a regular expression
  bool operator==(const SplitRule &) const = default;
};

std::span<const SplitRule> deepseek_rules();     // the three of DeepSeek-V3, see deepseek_split
inline constexpr const char *kByteLevelPattern = // of ByteLevel with use_regex
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

// Appends the end of every piece of the text (valid UTF-8, below 4 GiB) under the rules of
// DeepSeek-V3, hand-written:
//   1. \p{N}{1,3}
//   2. [U+4E00-U+9FA5 U+3040-U+309F U+30A0-U+30FF]+
//   3. the first of these that fits:
//      (a) one ASCII punctuation character, then ASCII letters
//      (b) one character that is no CR, LF, letter, punctuation or symbol, or none; then letters or marks
//      (c) a space or none, then punctuation or symbols, then CR, LF
//      (d) white space up to its last CR or LF
//      (e) white space, less its last character where something else follows
//      (f) white space
void deepseek_split(std::string_view text, std::vector<std::uint32_t> &ends);

class Splitter {
public:
  // Throws PatternError. Takes the hand-written scanner where the rules are those of DeepSeek-V3.
  explicit Splitter(std::vector<SplitRule> rules, bool allow_scanner = true);
  void split(std::string_view text,
             std::vector<std::uint32_t> &ends) const; // appends the ends of the pieces
  bool hand_written() const { return hand_written_; }

private:
  void apply(std::size_t rule, std::string_view text, std::size_t begin, std::size_t end,
             std::vector<std::uint32_t> &ends) const;
  bool hand_written_ = false;
  std::vector<Regex> regexes_;
};

} // namespace data

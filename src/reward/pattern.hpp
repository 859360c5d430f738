// SPDX-License-Identifier: Apache-2.0
#pragma once
// A regular expression of a deck, on texts of a model.
#include <string>
#include <string_view>

#include "data/regex.hpp"

namespace reward {

class Pattern {
public:
  // Throws data::PatternError, with the place in the pattern.
  Pattern(const std::string &pattern, bool whole);
  enum class Verdict { no, yes, too_hard }; // too_hard: more steps than are allowed for one text
  Verdict test(std::string_view utf8) const;
  const data::Regex &regex() const { return regex_; }

private:
  data::Regex regex_;
};

// The text with U+FFFD for each byte that is not part of valid UTF-8.
std::string valid_text(std::string_view bytes);

} // namespace reward

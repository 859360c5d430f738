// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finding the answer in what a model said.
#include <string>
#include <string_view>

#include "data/regex.hpp"

namespace reward {

std::string trimmed(std::string_view text);
// What stands in the last \boxed{...} (or \fbox{...}, "\boxed 5"), braces matched; false where there is none.
bool last_boxed(std::string_view text, std::string &out);
// The last number: digits with commas, a decimal point, a sign before it; commas are dropped.
std::string last_number(std::string_view text);
// The first block between ``` lines, else the whole text.
std::string code_block(std::string_view text);
// The last one.
std::string last_code_block(std::string_view text);
std::string last_line(std::string_view text);
// The last match, "" where there is none; where the expression takes too many steps, what was found before that. The text is UTF-8.
std::string last_match(const data::Regex &regex, std::string_view text, bool *too_hard = nullptr);

} // namespace reward

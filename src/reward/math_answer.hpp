// SPDX-License-Identifier: Apache-2.0
#pragma once
// Are two answers of a mathematical problem the same? By value where both are numbers (decimals, fractions, per cent, LaTeX of these),
// else as formulas in a common spelling. Nothing is computed beyond that: x+1 and 1+x differ. Whole numbers are compared digit by digit,
// others to nine digits. A unit in words ("12 cm", "3 hours") may stand on one side and be missing on the other.
#include <optional>
#include <string>
#include <string_view>

namespace reward {

// The common spelling: without blanks, $, \left, \right, units in \text{}, degrees, per cent signs, leading "x="; \dfrac and \tfrac
// are \frac, \frac12 is \frac{1}{2}, 1/2 is \frac{1}{2}, .5 is 0.5, \sqrt3 is \sqrt{3}, {,} and thousands' commas are gone.
std::string math_spelling(std::string_view answer);
// The value of a plain number or fraction in common spelling; also 1.5e3 and 1.5\times10^{3}.
std::optional<double> math_value(const std::string &spelling);
bool same_math(std::string_view a, std::string_view b);

} // namespace reward

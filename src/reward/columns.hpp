// SPDX-License-Identifier: Apache-2.0
#pragma once
// The values of one rule for all items, kind by kind.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reward/pattern.hpp"
#include "reward/rules.hpp"

namespace reward {

struct Rules::Prepared {
  explicit Prepared(const RuleOptions &rule);
  std::optional<Pattern> pattern;
};

struct Rules::Column {
  std::vector<double> values;
  std::vector<std::string> notes;
  std::int64_t too_hard = 0; // texts on which the pattern took too many steps
};

// What rule.find finds in an answer, "" for nothing. The text is UTF-8.
std::string found_in(const RuleOptions &rule, const Pattern *pattern, const std::string &text,
                     bool &too_hard);
// Right answers of a problem; one at least. Error E333.
std::vector<std::string> truths_of(const RuleOptions &rule, const data::Json &problem,
                                   const std::string &place);

// A field of the problem, a text or a number. Error E333.
std::string field_text(const RuleOptions &rule, const data::Json &problem, const std::string &place,
                       const std::string &name);

// Programs of one answer: each passes or not.
struct Trial {
  std::vector<sandbox::Program> programs;
  std::vector<std::string> outputs; // wanted; empty: the programs have their tests in themselves
};
// Error E333.
Trial trial_of(const RuleOptions &rule, const data::Json &problem, const std::string &place,
               const std::string &code);

double length_value(const RuleOptions &rule, std::size_t tokens);
// -(share of the runs of n tokens that were seen before), 0 where there are fewer than n tokens.
double repetition_value(const std::vector<data::Token> &tokens, std::int64_t n);
// Share of the letters that are of the script; 1 without letters.
double script_value(Script script, const std::string &utf8);

} // namespace reward

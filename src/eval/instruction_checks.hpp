// SPDX-License-Identifier: Apache-2.0
#pragma once
// The list of checks behind instructions.hpp: what each wants of its arguments, and whether an answer has it.
#include <string>
#include <vector>

#include "data/json.hpp"

namespace eval {

struct Check {
  const char *id;
  std::vector<const char *> numbers, texts, lists; // arguments that are needed
  bool (*holds)(const std::string &answer, const data::Json &arguments);
};

const std::vector<Check> &checks();
// Parts of a text between marks, empty ones too.
std::vector<std::string> split(std::string_view text, std::string_view between);

} // namespace eval

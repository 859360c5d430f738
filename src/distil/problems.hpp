// SPDX-License-Identifier: Apache-2.0
#pragma once
// Problems, and what is asked of a teacher: each problem in each form, some answers to each.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/chat_template.hpp"
#include "data/json.hpp"
#include "distil/options.hpp"

namespace distil {

struct Problem {
  data::Json fields;
  std::string place, source, key; // key: hash of the fields
  data::chat::Messages messages;
};

// One problem in one form.
struct Question {
  const Problem *problem = nullptr;
  std::string form, key; // key: of the problem and the form; names it in the journal
  data::chat::Messages messages;
};

struct Problems {
  std::vector<Problem> all;
  std::int64_t repeated = 0; // lines with the fields of an earlier one, left out
};

// Errors E111 to E113 (files), E130 to E132 (lines), E352 (a line without a prompt), E370 (no line at all; a system turn where the form
// system would add one; a problem that ends with an assistant's turn).
Problems read_problems(const Options &options);
std::vector<Question> questions_of(const Problems &problems, const Options &options);

} // namespace distil

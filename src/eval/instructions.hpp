// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks of form in the layout of IFEval: instruction_id_list names them, kwargs has the numbers and words of each. Words and
// sentences are counted by simple rules of our own (runs of letters and digits; ends of . ! ?), so that a few answers on the border
// may be judged otherwise than by the published checker; languages are not detected.
#include <string>
#include <string_view>
#include <vector>

#include "eval/records.hpp"

namespace eval {

struct Instruction {
  std::string id;
  data::Json arguments; // an object
};

// Error E311: no list, lists of different lengths, an id that is not known, an argument that is missing. Found before anything is asked.
std::vector<Instruction> read_instructions(const Record &record);
bool follows(const Instruction &instruction, std::string_view answer);
// Also counted when it holds after the first or last line or the asterisks of Markdown are taken away.
bool follows_loosely(const Instruction &instruction, std::string_view answer);
std::vector<std::string> known_instructions();

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a reward model is shown in place of the prompt: the text of a rule's `show`, with {{field}} in it for fields of the problem, a right
// answer among them where there is one.
#include <string>

#include "data/json.hpp"
#include "reward/options.hpp"

namespace reward {

// "" where braces come in pairs around a name, or what is wrong.
std::string fault_of_show(const std::string &show);
// Error E333: a field is not there, or is no text or number.
std::string shown(const RuleOptions &rule, const data::Json &problem, const std::string &place);

} // namespace reward

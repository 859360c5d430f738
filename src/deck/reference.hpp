// SPDX-License-Identifier: Apache-2.0
#pragma once
// docs/decks.md, made from the declarations: `hadal decks` prints it, a test compares.
#include <string>
#include <utility>
#include <vector>

#include "deck/deck.hpp"

namespace deck {

// Tables in the order of the page. `lists` names the tables that are written [[name]].
using Tables = std::vector<std::pair<std::string, std::vector<KeyInfo>>>;
std::string reference(const Tables &tables, const std::vector<std::string> &lists);

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "deck/deck.hpp"

namespace app {

using Tables = std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>>;
// Every table of every deck, in the order of docs/decks.md.
Tables all_tables();

// A deck of which a command reads some tables: the keys of all others are known, so that finish()
// finds mistakes anywhere.
deck::Deck open_deck(const std::string &path, const std::vector<std::string> &overrides);

} // namespace app

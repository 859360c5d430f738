// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "deck/deck.hpp"

namespace app {

// A deck of which a command reads some tables: the keys of all others are known, so that finish()
// finds mistakes anywhere.
deck::Deck open_deck(const std::string &path, const std::vector<std::string> &overrides);

} // namespace app

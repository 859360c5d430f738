// SPDX-License-Identifier: Apache-2.0
#include "app/open_deck.hpp"

#include "data/conversation_options.hpp"
#include "eval/options.hpp"
#include "reward/options.hpp"
#include "train/options.hpp"

namespace app {

deck::Deck open_deck(const std::string &path, const std::vector<std::string> &overrides) {
  deck::Deck deck = deck::Deck::read(path, overrides);
  for (const auto &[table, keys] : train::declared_keys()) deck.note_declared(keys);
  for (const auto &[table, keys] : eval::declared_keys()) deck.note_declared(keys);
  for (const auto &[table, keys] : reward::declared_keys()) deck.note_declared(keys);
  for (const auto &[table, keys] : data::conversation_keys()) deck.note_declared(keys);
  return deck;
}

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include "app/open_deck.hpp"

#include "data/conversation_options.hpp"
#include "distil/options.hpp"
#include "eval/options.hpp"
#include "infer/options.hpp"
#include "reward/options.hpp"
#include "train/options.hpp"

namespace app {

Tables all_tables() {
  Tables all = train::declared_keys();
  for (const Tables &more :
       {eval::declared_keys(), infer::declared_keys(), train::grpo::declared_keys(),
        reward::declared_keys(), data::conversation_keys(), distil::declared_keys()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

deck::Deck open_deck(const std::string &path, const std::vector<std::string> &overrides) {
  deck::Deck deck = deck::Deck::read(path, overrides);
  for (const auto &[table, keys] : all_tables()) deck.note_declared(keys);
  return deck;
}

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include "infer/options.hpp"

#include <fmt/format.h>

namespace infer {

EngineOptions engine_options(const deck::Deck &deck, const EngineTable &table,
                             const int vocabulary) {
  if (table.rows < table.batch)
    deck.fail("infer", "rows", "E268",
              fmt::format("{} sequences need so many rows at least (infer.batch).", table.batch));
  return {table.attention, table.batch, table.rows,     table.cache,
          table.sequence,  vocabulary,  table.keep_keys};
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {{"infer", deck::declare<EngineTable>("infer")}};
}

} // namespace infer

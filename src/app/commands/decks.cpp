// SPDX-License-Identifier: Apache-2.0
// hadal decks: prints docs/decks.md.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/open_deck.hpp"
#include "deck/reference.hpp"

namespace app {

void add_decks(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("decks", "print the reference of all deck keys (docs/decks.md)");
  command->group(""); // for those who edit the page
  command->callback([&action] {
    action = [] {
      fmt::print("{}",
                 deck::reference(all_tables(),
                                 {"data.source", "evaluate.task", "reward", "sandbox.language",
                                  "sft.source", "pairs.source", "grpo.source", "distil.source"}));
      return 0;
    };
  });
}

} // namespace app

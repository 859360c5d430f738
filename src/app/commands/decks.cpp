// SPDX-License-Identifier: Apache-2.0
// hadal decks: prints docs/decks.md.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "data/conversation_options.hpp"
#include "deck/reference.hpp"
#include "eval/options.hpp"
#include "reward/options.hpp"
#include "train/options.hpp"

namespace app {

void add_decks(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("decks", "print the reference of all deck keys (docs/decks.md)");
  command->group(""); // for those who edit the page
  command->callback([&action] {
    action = [] {
      auto tables = train::declared_keys();
      for (auto &table : eval::declared_keys()) tables.push_back(std::move(table));
      for (auto &table : train::grpo::declared_keys()) tables.push_back(std::move(table));
      for (auto &table : reward::declared_keys()) tables.push_back(std::move(table));
      for (auto &table : data::conversation_keys()) tables.push_back(std::move(table));
      fmt::print("{}", deck::reference(tables, {"data.source", "evaluate.task", "reward",
                                                "sandbox.language", "sft.source", "pairs.source",
                                                "grpo.source"}));
      return 0;
    };
  });
}

} // namespace app

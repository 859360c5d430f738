// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands/commands.hpp"
#include "app/commands/data.hpp"

namespace app {
namespace {

void add_build(CLI::App &data, Action &action) {
  CLI::App *command =
      data.add_subcommand("build", "turn the text named by a deck into token shards");
  auto arguments = std::make_shared<DataBuildArguments>();
  command->add_option("DECK", arguments->deck, "the deck")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, any number");
  command->add_flag("--rebuild", arguments->rebuild,
                    "replace finished data that was built from other text or keys");
  command->add_option("--threads", arguments->threads, "threads that encode; 0: one a core")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  command->callback(
      [arguments, &action] { action = [arguments] { return data_build(*arguments); }; });
}

void add_show(CLI::App &data, Action &action) {
  CLI::App *command = data.add_subcommand("show", "print samples as the model will see them");
  auto arguments = std::make_shared<DataShowArguments>();
  command->add_option("PLACE", arguments->place, "a data directory or a deck")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, for a deck");
  command->add_option("--samples", arguments->samples, "how many")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--from", arguments->from, "global index of the first")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--sequence", arguments->sequence, "tokens in a sample; 0: as in the deck")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  command->add_flag("--validation", arguments->validation, "of the text held out");
  command->add_option("--colour", arguments->colour, "auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  command->callback(
      [arguments, &action] { action = [arguments] { return data_show(*arguments); }; });
}

void add_text(CLI::App &data, Action &action) {
  CLI::App *command = data.add_subcommand("text", "print the documents themselves");
  auto arguments = std::make_shared<DataTextArguments>();
  command->add_option("PLACE", arguments->place, "a data directory or a deck")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, for a deck");
  command->add_flag("--validation", arguments->validation, "of the text held out");
  command->callback(
      [arguments, &action] { action = [arguments] { return data_text(*arguments); }; });
}

void add_stats(CLI::App &data, Action &action) {
  CLI::App *command = data.add_subcommand("stats", "tables of what a data directory holds");
  auto arguments = std::make_shared<DataStatsArguments>();
  command->add_option("PLACE", arguments->place, "a data directory or a deck")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, for a deck");
  command->add_flag("--verify", arguments->verify, "read all shards and compare their checksums");
  command->add_option("--tokens", arguments->tokens,
                      "tokens that a run will read (300M, 14.8T); default: those of the deck");
  command->callback(
      [arguments, &action] { action = [arguments] { return data_stats(*arguments); }; });
}

} // namespace

void add_data(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand("data", "from text to token shards (docs/data.md)");
  command->require_subcommand(1);
  add_build(*command, action);
  add_show(*command, action);
  add_text(*command, action);
  add_stats(*command, action);
}

} // namespace app

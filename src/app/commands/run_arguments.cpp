// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands/commands.hpp"
#include "app/commands/run.hpp"

namespace app {

void add_run(CLI::App &program, Action &action) {
  CLI::App *command = program.add_subcommand("run", "run a deck, whatever its phase");
  auto arguments = std::make_shared<RunArguments>();
  command->add_option("DECK", arguments->deck, "the deck")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, any number");
  command->add_option("--restart", arguments->restart, "auto, none, or a checkpoint directory")
      ->capture_default_str();
  command->add_flag("--check", arguments->check, "check deck and machine, do not run");
  command->add_flag("--explain", arguments->explain,
                    "print every key with default, range and meaning");
  command->callback([arguments, &action] { action = [arguments] { return run(*arguments); }; });
}

} // namespace app

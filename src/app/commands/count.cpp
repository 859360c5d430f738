// SPDX-License-Identifier: Apache-2.0
// hadal count DECK|config.json: the model as arithmetic.
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/open_deck.hpp"
#include "arch/hf_config.hpp"
#include "arch/options.hpp"
#include "arch/report.hpp"
#include "base/files.hpp"
#include "train/options.hpp"

namespace app {
namespace {

struct CountArguments {
  std::string file;
  std::vector<std::string> overrides;
  std::int64_t sequence = 0; // 0: that of the deck, else 4096
};

int count(const CountArguments &arguments) {
  arch::ReportOptions options;
  options.title = arguments.file;
  arch::Dims dims;
  if (arguments.file.ends_with(".json")) {
    if (!arguments.overrides.empty())
      throw base::UserError(base::Exit::deck, "E010", "command line", arguments.overrides[0],
                            "Overrides go with a deck; a config.json is counted as it stands.");
    dims = arch::dims_from_hf_config(
        base::read_file(arguments.file, base::Exit::deck, "E001", 64 << 20), arguments.file);
  } else {
    deck::Deck deck = open_deck(arguments.file, arguments.overrides);
    dims = arch::read_dims(deck);
    train::BatchTable batch;
    deck.read_table("batch", batch);
    deck.finish();
    options.sequence = batch.sequence;
  }
  if (arguments.sequence > 0) options.sequence = arguments.sequence;
  fmt::print("{}", arch::count_report(dims, options));
  return 0;
}

} // namespace

void add_count(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("count", "parameters, FLOPs a token, bytes of state and cache");
  auto arguments = std::make_shared<CountArguments>();
  command->add_option("DECK", arguments->file, "a deck, or a Hugging Face config.json")->required();
  command->add_option("OVERRIDES", arguments->overrides, "table.key=value, any number");
  command
      ->add_option("--sequence", arguments->sequence,
                   "tokens over which attention looks back; default: that of the deck")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  command->callback([arguments, &action] { action = [arguments] { return count(*arguments); }; });
}

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include "app/command_line.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <new>
#include <system_error>
#include <thread>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "app/commands/commands.hpp"
#include "app/version.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "comm/launcher.hpp"

namespace app {
namespace {

using base::Exit;
using base::UserError;

constexpr void (*kCommands[])(CLI::App &, Action &) = {
    add_run,  add_count,  add_tokenizer, add_data,  add_inspect,  add_compare,  add_generate,
    add_eval, add_distil, add_convert,   add_bench, add_schedule, add_selftest, add_decks};

// CLI11 would speak of arguments that were not expected.
void check_names(CLI::App &program, const std::vector<std::string> &arguments) {
  CLI::App *at = &program;
  for (const std::string &argument : arguments) {
    std::vector<std::string> names;
    CLI::App *found = nullptr;
    for (CLI::App *command : at->get_subcommands([](CLI::App *) { return true; })) {
      names.push_back(command->get_name());
      if (names.back() == argument) found = command;
    }
    if (names.empty() || argument.starts_with('-')) return;
    const std::string near = base::text::nearest(argument, names);
    if (found == nullptr)
      throw UserError(Exit::deck, "E010", "command line", argument,
                      fmt::format("This is not a command{} `{} --help` lists them.",
                                  near.empty() ? "." : fmt::format("; did you mean {}?", near),
                                  at == &program ? "hadal" : "hadal " + at->get_name()));
    at = found;
  }
}

int dispatch(const std::vector<std::string> &arguments) {
  CLI::App program("Trains, evaluates and serves DeepSeek-V3-class language models.", "hadal");
  program.set_version_flag("--version", version_text());
  program.require_subcommand(1);
  Action action;
  for (const auto add : kCommands) add(program, action);
  check_names(program, arguments);
  try {
    program.parse(std::vector<std::string>(arguments.rbegin(),
                                           arguments.rend())); // CLI11 takes them last first
  } catch (const CLI::Success &help) {
    return program.exit(help);
  } catch (const CLI::ParseError &error) {
    if (arguments.empty()) {
      fmt::print(stderr, "{}", program.help());
      return static_cast<int>(Exit::deck);
    }
    const std::string command = arguments[0].starts_with('-') ? "" : " " + arguments[0];
    throw UserError(
        Exit::deck, "E010", "command line", "hadal" + command,
        fmt::format("{}\n`hadal{} --help` shows what is allowed.", error.what(), command));
  }
  const int code = action();
  // What could not be written must not end as success: a full disk behind standard output.
  if (std::fflush(stdout) != 0)
    throw UserError(Exit::machine, "E075", "standard output", "cannot be written",
                    std::generic_category().message(errno));
  return code;
}

// Ranks find the faults of a deck alike: the first tells them and ends, and the launcher ends the others. What one of the others
// finds alone is told after that time.
int report(Exit code, const std::string &text) {
  std::fflush(stdout);
  if (comm::launched_rank() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
  std::fputs((text + "\n").c_str(), stderr);
  return static_cast<int>(code);
}

int out_of_memory() {
  return report(Exit::machine,
                UserError(Exit::machine, "E074", "", "the memory of this machine is used up",
                          "Take smaller batches or a smaller model; `hadal count` shows bytes.")
                    .what());
}

} // namespace

int run_command_line(const std::vector<std::string> &arguments) try {
  return dispatch(arguments);
} catch (const UserError &error) {
  return report(error.code(), error.what());
} catch (const std::bad_alloc &) {
  return out_of_memory();
} catch (const std::filesystem::filesystem_error &error) {
  const UserError text(Exit::machine, "E075", error.path1().string(), error.code().message(),
                       "The file system refused.");
  return report(text.code(), text.what());
} catch (const std::system_error &error) {
  const UserError text(Exit::machine, "E075", "", error.what(), "The system refused.");
  return report(text.code(), text.what());
} catch (const std::exception &error) {
  if (std::string_view(error.what()).starts_with("Kokkos failed to allocate memory"))
    return out_of_memory();
  return report(Exit::fault, fmt::format("a fault of the program itself: {}", error.what()));
} catch (...) {
  return report(Exit::fault, "a fault of the program itself: an exception without a text");
}

} // namespace app

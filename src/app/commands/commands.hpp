// SPDX-License-Identifier: Apache-2.0
#pragma once
// The commands of the program. Each declares its arguments below `program` and, when it is the
// chosen one, leaves in `action` what is to be done; the action gives the exit code. A new command
// is one line here and one in command_line.cpp.
#include <functional>

namespace CLI {
class App;
}

namespace app {

using Action = std::function<int()>;

void add_run(CLI::App &program, Action &action);
void add_count(CLI::App &program, Action &action);
void add_tokenizer(CLI::App &program, Action &action);
void add_data(CLI::App &program, Action &action);
void add_inspect(CLI::App &program, Action &action);
void add_compare(CLI::App &program, Action &action);
void add_generate(CLI::App &program, Action &action);
void add_eval(CLI::App &program, Action &action);
void add_distil(CLI::App &program, Action &action);
void add_convert(CLI::App &program, Action &action);
void add_bench(CLI::App &program, Action &action);
void add_schedule(CLI::App &program, Action &action);
void add_selftest(CLI::App &program, Action &action);
void add_decks(CLI::App &program, Action &action);

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#pragma once
// From arguments to an exit code: finds the command, runs it, turns errors into texts and codes.
#include <string>
#include <string_view>
#include <vector>

namespace app {

// arguments without the program's name. Never throws.
int run_command_line(const std::vector<std::string> &arguments);

} // namespace app

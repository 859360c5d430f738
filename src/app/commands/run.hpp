// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal run DECK [table.key=value ...] [--restart auto|none|DIR] [--check] [--explain]
#include <string>
#include <vector>

namespace app {

struct RunArguments {
  std::string deck;
  std::vector<std::string> overrides;
  std::string restart = "auto";
  bool check = false, explain = false;
};
int run(const RunArguments &arguments);

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal data build DECK [table.key=value ...] [--rebuild] [--threads N]
// hadal data show  DIRECTORY|DECK [--samples N] [--from N] [--validation] [--sequence N] [--colour auto|always|never]
// hadal data text  DIRECTORY|DECK [--validation]
// hadal data stats DIRECTORY|DECK [--verify] [--tokens N]
#include <cstdint>
#include <string>
#include <vector>

namespace app {

struct DataBuildArguments {
  std::string deck;
  std::vector<std::string> overrides;
  bool rebuild = false;
  int threads = 0; // 0: all cores
};
int data_build(const DataBuildArguments &arguments);

// place: a data directory, or a deck that names one and says how it is read.
struct DataShowArguments {
  std::string place;
  std::vector<std::string> overrides;
  std::int64_t samples = 3, from = 0;
  std::int64_t sequence = 0; // 0: the deck's; 256 for a directory
  bool validation = false;
  std::string colour = "auto"; // auto: on a terminal, unless NO_COLOR is set
};
int data_show(const DataShowArguments &arguments);

// The documents of a split as text, one after another: for compressors, or for reading.
struct DataTextArguments {
  std::string place;
  std::vector<std::string> overrides;
  bool validation = false;
};
int data_text(const DataTextArguments &arguments);

struct DataStatsArguments {
  std::string place;
  std::vector<std::string> overrides;
  bool verify = false;
  std::string tokens; // planned, with suffix ("14.8T"); empty: the deck's steps
};
int data_stats(const DataStatsArguments &arguments);

} // namespace app

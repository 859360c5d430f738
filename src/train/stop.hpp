// SPDX-License-Identifier: Apache-2.0
#pragma once
// Requests from outside: SIGTERM, SIGINT and SIGUSR1 ask for a checkpoint and a stop in good order (a second SIGINT or SIGTERM ends at
// once); a file named checkpoint_now in the run directory asks for a checkpoint only.
#include <filesystem>
#include <string>

namespace train {

class StopRequests {
public:
  StopRequests();  // installs the handlers
  ~StopRequests(); // restores what was there
  StopRequests(const StopRequests &) = delete;
  std::string signal() const; // "SIGTERM", ... or ""
};

// Deletes the file when it is there.
bool checkpoint_asked(const std::filesystem::path &run_directory);

} // namespace train

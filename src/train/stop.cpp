// SPDX-License-Identifier: Apache-2.0
#include "train/stop.hpp"

#include <csignal>
#include <unistd.h>

namespace train {
namespace {

volatile std::sig_atomic_t received = 0;
constexpr int kSignals[] = {SIGTERM, SIGINT, SIGUSR1};
struct sigaction before[3];

void handle(int signal) {
  if (received != 0 && signal != SIGUSR1) _exit(128 + signal);
  received = signal;
}

} // namespace

StopRequests::StopRequests() {
  received = 0;
  struct sigaction action = {};
  action.sa_handler = handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &action, &before[i]);
}

StopRequests::~StopRequests() {
  for (int i = 0; i < 3; ++i) sigaction(kSignals[i], &before[i], nullptr);
}

std::string StopRequests::signal() const {
  switch (received) {
  case SIGTERM: return "SIGTERM";
  case SIGINT: return "SIGINT";
  case SIGUSR1: return "SIGUSR1";
  default: return "";
  }
}

bool checkpoint_asked(const std::filesystem::path &run_directory) {
  std::error_code error;
  return std::filesystem::remove(run_directory / "checkpoint_now", error);
}

} // namespace train

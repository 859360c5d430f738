// SPDX-License-Identifier: Apache-2.0
#pragma once
// A thread that looks after the one that communicates. It writes a diagnosis when the process is asked to stop while no wait
// is open (the wait itself does it otherwise), takes the end of the launcher for such a request, and ends the process when a
// wait is stuck inside the MPI library beyond every limit. It never calls MPI.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "comm/terms.hpp"

namespace comm {

class Watchdog {
public:
  // name: "world rank 3, node n2". parent: the launcher's process, 0: not looked at.
  Watchdog(std::shared_ptr<Terms> terms, std::string name, int parent);
  ~Watchdog();
  Watchdog(const Watchdog &) = delete;

private:
  void watch();
  void look();

  std::shared_ptr<Terms> terms_;
  std::string name_;
  int parent_;
  std::mutex mutex_;
  std::condition_variable end_; // an end that must not wait for the next round
  bool over_ = false;
  double asked_ = 0, stuck_ = 0; // seconds seen in this state, by the watchdog's own rounds
  std::thread thread_;
};

} // namespace comm

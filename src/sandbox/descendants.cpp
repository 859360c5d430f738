// SPDX-License-Identifier: Apache-2.0
// Processes as /proc shows them, for machines without namespaces.
#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/keeper.hpp"

namespace sandbox {

namespace {

void for_each_process(const std::function<void(pid_t)> &what) {
  DIR *folder = opendir("/proc");
  if (folder == nullptr) return;
  while (const dirent *entry = readdir(folder))
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) != 0)
      what(static_cast<pid_t>(std::atoi(entry->d_name)));
  closedir(folder);
}

// Children by parent, of all processes that are alive.
std::multimap<pid_t, pid_t> children() {
  std::multimap<pid_t, pid_t> all;
  for_each_process([&](pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(file, line, '\0')) return;
    const std::size_t at = line.rfind(')'); // names may have brackets and blanks
    char state = 0;
    int parent = 0;
    if (at == std::string::npos ||
        std::sscanf(line.c_str() + at + 1, " %c %d", &state, &parent) != 2)
      return;
    if (state != 'Z' && state != 'X') all.emplace(parent, pid);
  });
  return all;
}

} // namespace

void kill_descendants(pid_t ancestor, const std::vector<pid_t> &except) {
  // Whatever was forked between looking and killing has come to the ancestor and is found the next time. The number of processes is
  // limited, so that a program that only forks does not win for ever.
  for (int round = 0; round < 2000; ++round) {
    const auto all = children();
    std::vector<pid_t> found, open{ancestor};
    while (!open.empty()) {
      const pid_t parent = open.back();
      open.pop_back();
      const auto [first, last] = all.equal_range(parent);
      for (auto one = first; one != last; ++one) {
        if (std::find(except.begin(), except.end(), one->second) != except.end()) continue;
        found.push_back(one->second), open.push_back(one->second);
      }
    }
    if (found.empty()) return;
    for (const pid_t pid : found)
      kill(pid, SIGSTOP); // so that they fork no more while others are killed
    for (const pid_t pid : found) kill(pid, SIGKILL);
    for (const pid_t pid : found) waitpid(pid, nullptr, WNOHANG); // those that came to this process
    usleep(1000);
  }
}

std::int64_t tasks_of_user() {
  std::int64_t tasks = 0;
  for_each_process([&](pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    std::string line;
    bool mine = false;
    while (std::getline(file, line)) {
      if (line.rfind("Uid:", 0) == 0)
        mine = std::strtoul(line.c_str() + 4, nullptr, 10) == getuid();
      if (mine && line.rfind("Threads:", 0) == 0) tasks += std::atoi(line.c_str() + 8);
    }
  });
  return tasks;
}

} // namespace sandbox

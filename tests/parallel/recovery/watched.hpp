// SPDX-License-Identifier: Apache-2.0
#pragma once
// A run of several ranks under mpirun, in which each rank's errors and exit code are kept apart, and single ranks can be hit.
#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <optional>
#include <thread>

#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/support/many_ranks.hpp"

namespace recovery {

using support::operator+; // of Words
using Clock = std::chrono::steady_clock;
inline double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}
inline void pause(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}
template <class Ready> bool until(Ready ready, double seconds) {
  const auto begin = Clock::now();
  while (!ready()) {
    if (since(begin) > seconds) return false;
    pause(0.005);
  }
  return true;
}

// A process whose first thread hangs while this lives: unlike SIGSTOP, a launcher's SIGCONT does not wake it.
class Hung {
public:
  explicit Hung(int pid) : pid_(pid) {
    hangs_ = ::ptrace(PTRACE_SEIZE, pid, 0, 0) == 0 && ::ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0 &&
             ::waitpid(pid, nullptr, __WALL) == pid;
  }
  ~Hung() { // a tracer has to be told of an end before the parent is
    if (hangs_ && ::ptrace(PTRACE_DETACH, pid_, 0, 0) != 0)
      ::waitpid(pid_, nullptr, __WALL | WNOHANG);
  }
  Hung(const Hung &) = delete;
  bool hangs() const { return hangs_; }

private:
  int pid_;
  bool hangs_ = false;
};

// Processes of the program (not of its launcher) that work in a run directory, by rank.
inline std::map<int, int> ranks_of(const std::string &directory) {
  const auto read = [](const std::filesystem::path &path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  std::map<int, int> found;
  for (const auto &entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = read(entry.path() / "cmdline");
    if (!line.starts_with(support::hadal()) ||
        line.find("run.directory=" + directory + '\0') == std::string::npos)
      continue;
    const std::string environment = '\0' + read(entry.path() / "environ"),
                      key = std::string(1, '\0') + "OMPI_COMM_WORLD_RANK=";
    const auto rank = environment.find(key);
    if (rank != std::string::npos)
      found[std::atoi(environment.c_str() + rank + key.size())] = std::stoi(name);
  }
  return found;
}

class Watched {
public:
  // Where `replaced`, the program takes the place of the shell that sets it up, so that the launcher sees how it dies; else the shell
  // stays and writes its exit code.
  Watched(int ranks, const std::string &run_directory, const support::Words &command,
          const std::string &folder, bool replaced = true)
      : ranks_(ranks), directory_(run_directory),
        child_(support::mpirun(ranks,
                               support::Words{"sh", "-c", shell(replaced), files_.path().string()} +
                                   command),
               folder) {}
  ~Watched() {
    for (const auto &[rank, pid] : ranks_of(directory_)) ::kill(pid, SIGKILL);
  }
  Watched(const Watched &) = delete;

  bool running() { return child_.running(); }
  void signal_launcher(int number) { child_.signal(number); }
  bool signal(int rank, int number) const {
    const auto pids = ranks_of(directory_);
    return pids.contains(rank) && ::kill(pids.at(rank), number) == 0;
  }
  // Files of this rank cannot grow beyond so many bytes from now on.
  bool limit_files(int rank, rlim_t bytes) const {
    const auto pids = ranks_of(directory_);
    const rlimit limit = {bytes, bytes};
    return pids.contains(rank) && ::prlimit(pids.at(rank), RLIMIT_FSIZE, &limit, nullptr) == 0;
  }
  std::string errors(int rank) const {
    return support::read_text(files_.path() / ("errors" + std::to_string(rank)));
  }
  // The program's own exit code.
  std::optional<int> code(int rank) const {
    const auto text = support::read_text(files_.path() / ("code" + std::to_string(rank)));
    if (text.empty()) return std::nullopt;
    return std::stoi(text);
  }
  // All ranks but one have told why they end.
  bool all_told(int but) const {
    for (int r = 0; r < ranks_; ++r)
      if (r != but && !support::holds(errors(r), "asked to stop") &&
          !support::holds(errors(r), "[E07"))
        return false;
    return true;
  }
  // Output of the launcher and errors of each rank.
  support::Outcome wait(double seconds) {
    auto out = child_.wait(seconds);
    for (int r = 0; r < ranks_; ++r)
      out.output += "\n-- errors of rank " + std::to_string(r) + ":\n" + errors(r);
    return out;
  }
  bool no_orphans() const {
    return until([&] { return ranks_of(directory_).empty(); }, 3);
  }

private:
  static std::string shell(bool replaced) {
    const std::string run = "\"$@\" 2>\"$0/errors$OMPI_COMM_WORLD_RANK\"";
    if (replaced) return "exec " + run;
    return "trap : TERM; " + run +
           "; code=$?; echo $code >\"$0/code$OMPI_COMM_WORLD_RANK\"; exit $code";
  }
  int ranks_;
  std::string directory_;
  support::Scratch files_;
  support::Child child_;
};

} // namespace recovery

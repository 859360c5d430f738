// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs programs that nobody has read: each in a process of its own, with limits, without network, in an empty folder that is gone
// afterwards. Nothing that a program starts outlives it.
//
// The caller is a large process with many threads, perhaps with MPI, in which a plain fork() is slow and what may follow it is next
// to nothing. So a batch of programs goes to a launcher: this same executable, started once more (posix_spawn of /proc/self/exe),
// which turns into the launcher before main() is reached and is small and of one thread (launcher.cpp). The launcher forks a
// keeper for each program; the keeper makes the namespaces its own, starts the program and reports its end (keeper.cpp). A root
// gives up being root (user 65534) before anything foreign runs.
#include <string>
#include <vector>

#include "sandbox/options.hpp"

namespace sandbox {

struct Program {
  std::string language = "python", source, input; // input: what stands on standard input
};

enum class Hit { nothing, wall, cpu, output, file, memory };

struct Outcome {
  bool finished = false; // ended by itself with exit code 0, within all limits
  bool compiled =
      true; // false: what the other fields say is the compiler's end; its words are in errors
  bool timed_out = false;
  // The limit that ended it. file: only where a signal told of it; memory: killed for it, or its last words complain of it. A program
  // that handles a refusal (no more processes, a file too large) goes on, and nothing is hit.
  Hit hit = Hit::nothing;
  int exit_code = -1, signal = 0; // signal: 0 unless one ended it
  std::string output, errors;     // any bytes, up to the limit
  double seconds = 0, cpu_seconds = 0;
};

// What this machine offers, found by trying.
struct Isolation {
  bool namespaces =
      false; // own users, processes, network, messages, and a view of the files that has system folders and no more
  bool own_proc = false;     // /proc of its own processes
  bool system_calls = false; // calls that no such program needs are refused
  bool other_user = false;   // a root became another user
  bool landlock =
      false;       // without namespaces: only the same files, and no memory of other processes
  std::string why; // what failed, where there are no namespaces
  std::string text() const;
};

// Errors E340 (namespaces are required and not to be had), E341 (a command is not found there), E342 (a program could not be started),
// E343 (a language that is not in the table), E344 (limits and paths that make no sense).
Isolation isolation(const Options &options);
// Also whether the commands of these languages are found. Nothing is run.
Isolation check(const Options &options, const std::vector<std::string> &languages);
Outcome run(const Program &program, const Options &options);
// Outcomes in the order of the programs.
std::vector<Outcome> run_all(const std::vector<Program> &programs, const Options &options);

const char *name_of(Hit hit);

} // namespace sandbox

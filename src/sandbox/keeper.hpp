// SPDX-License-Identifier: Apache-2.0
#pragma once
// A keeper is the parent of one foreign program, the first process of its namespaces where there are any, and the one to whom all
// orphans come. It starts the program's steps (compile, run), tells the launcher of their beginning and end, and then waits to be
// killed, by which its namespaces end. Launcher and keeper have one thread each.
#include <string>
#include <sys/types.h>

#include "sandbox/wire.hpp"

namespace sandbox {

// What a keeper writes into its pipe. Small enough to arrive whole.
struct Note {
  enum Kind : int { began, ended, failed } kind = failed;
  int step = 0;
  int value = 0; // ended: the status of wait4; failed: errno
  double cpu_seconds = 0;
  char what[64] = {}; // failed: at what
};

struct Cell {
  Cell(const Options &o, const Language &l) : options(o), language(l) {}
  const Options &options;
  const Language &language;
  const Program *program = nullptr; // nullptr: a probe, which tries everything and reports in lines
  const std::vector<std::string> *wanted =
      nullptr;        // probe: languages whose commands are looked for
  std::string folder; // working folder; with namespaces it exists only inside
  bool namespaces = false, filter = false, landlock = false;
  std::int64_t tasks = 0; // tasks of this user that are not the program's but count as such
  int input = -1, output = -1, errors = -1, notes = -1, go = -1;
};

// A copy of this process, in namespaces of its own when asked for; -1 with errno. 0 in the copy.
pid_t fork_keeper(bool namespaces);
// The parent's part: user and group of the copy mean the same inside as outside. False with errno.
bool map_users(pid_t keeper);
[[noreturn]] void keep(const Cell &cell);

// Where a command is found along the path that programs get, "" if nowhere. Names with / are left as they are.
std::string resolve(const std::string &command);
// Closes every file from this number on.
void close_from(int first);
// Text written in full; false with errno.
bool write_file(const std::string &path, const std::string &text, mode_t mode);

// view.cpp: a root of its own: system folders and what is visible, read-only; an empty folder; devices. "" or what failed, with errno.
std::string make_view(const Options &options, bool &own_proc);
extern const char *const kSystem[],
    *const kDevices[];                         // what every program sees; nullptr at the end
inline constexpr const char *kFolder = "/box"; // the working folder in a view

// filter.cpp: refuses system calls that no such program needs. keep_off: also sockets and signals to others, for want of namespaces.
// False where the machine has no such filters.
bool install_filter(bool keep_off);

// landlock.cpp, for want of a view: the same files and the working folder, by Landlock; also keeps off the memory of processes that are not
// the program's own. False where the machine has no Landlock.
bool confine_files(const Options &options, const std::string &folder);

// descendants.cpp, for want of namespaces.
// All of them, until none is left; not `except` and theirs.
void kill_descendants(pid_t ancestor, const std::vector<pid_t> &except);
std::int64_t tasks_of_user(); // threads of all processes of this user

} // namespace sandbox

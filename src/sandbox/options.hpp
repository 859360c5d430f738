// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a foreign program may use, and how it is started: the table [sandbox] of a deck and its list [[sandbox.language]]. The keys
// are a template, so that this room need not know decks.
#include <cstdint>
#include <string>
#include <vector>

namespace sandbox {

enum class Require { namespaces, best };

// How programs of a language are run; commands stand in the working folder, where `file` holds the source.
struct Language {
  std::string name, file;
  std::vector<std::string> compile, run; // compile: empty where there is nothing to compile
  template <class R> void keys(R &r) {
    r.required(name, "name", "name of the language; one of the built-in names replaces that one");
    r.required(file, "file", "name of the file that holds the source");
    r.key(compile, "compile", "command and arguments that come first; empty: none");
    r.required(run, "run", "command and arguments of the program");
  }
};
// python, sh and c++.
std::vector<Language> usual_languages();

// Of one program; compiling has the same limits once more.
struct Limits {
  double wall = 10;                            // seconds
  std::int64_t cpu = 10;                       // seconds of each process
  std::int64_t memory = std::int64_t{1} << 30; // bytes of address space of each process
  std::int64_t processes = 32;                 // with threads
  std::int64_t file = 16 << 20, output = 1 << 20, open_files = 64;
};

struct Options {
  Limits limits;
  Require require = Require::namespaces;
  std::int64_t parallel = 0;
  std::vector<std::string> visible;
  std::string directory;
  std::vector<Language> languages = usual_languages();
  bool try_namespaces = true; // no key; false: as on a machine that has none

  template <class R> void keys(R &r) {
    r.template choice<Require>(
        require, "require", Require::namespaces,
        {{"namespaces", Require::namespaces}, {"best", Require::best}},
        "namespaces: refuse to run programs where the machine cannot shut them off; best: take "
        "what there is (docs/rewards.md)");
    r.duration(limits.wall, "wall", 10.0, 0.01, 86400.0, "of a program, then it is killed");
    r.key(limits.cpu, "cpu", 10, 1, 86400, "seconds", "of the processor, of each process");
    r.key(limits.memory, "memory", std::int64_t{1} << 30, std::int64_t{16} << 20,
          std::int64_t{1} << 44, "bytes", "of address space, of each process");
    r.key(limits.processes, "processes", 32, 1, 1 << 15, "", "and threads of a program at once");
    r.key(limits.file, "file", 16 << 20, 1 << 12, std::int64_t{1} << 40, "bytes",
          "of a file; with namespaces: of all files together");
    r.key(limits.output, "output", 1 << 20, 1, 1 << 30, "bytes",
          "of standard output and of standard error, then the program is killed");
    r.key(limits.open_files, "open_files", 64, 8, 1 << 16, "", "open files of a process");
    r.key(parallel, "parallel", 0, 0, 1 << 12, "programs", "at once; 0: the CPUs of this process");
    r.key(visible, "visible",
          "folders or files that programs can read, beside those of the system; absolute paths");
    r.key(directory, "directory", "",
          "where working folders lie if there are no namespaces; empty: TMPDIR or /tmp");
  }
};

} // namespace sandbox

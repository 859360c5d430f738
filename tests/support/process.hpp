// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs programs from tests: output (both streams) and exit code, with a deadline after which the child is killed.
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace support {

struct Outcome {
  int code = -1; // exit code; 128 + signal when a signal ended it
  bool timed_out = false;
  std::string output; // standard output and standard error together
};

class Child {
public:
  explicit Child(const std::vector<std::string> &command, const std::string &directory = "");
  ~Child(); // kills what still runs
  Child(const Child &) = delete;
  void signal(int number);
  bool running();
  Outcome wait(double seconds = 300);

private:
  int pid_ = -1;
  std::string log_;
};

inline Outcome run(const std::vector<std::string> &command, const std::string &directory = "",
                   double seconds = 300) {
  return Child(command, directory).wait(seconds);
}

// The program under test: HADAL_PROGRAM of the environment, or the one of this build.
std::string hadal();
// A fresh folder that is removed at the end.
class Scratch {
public:
  Scratch();
  ~Scratch();
  std::filesystem::path path() const { return path_; }
  std::string operator/(const std::string &name) const { return (path_ / name).string(); }

private:
  std::filesystem::path path_;
};
void write_text(const std::filesystem::path &path, const std::string &text);
std::string read_text(const std::filesystem::path &path);
// What stands behind `state hash ` in the last line that has it, or "".
std::string state_hash(const std::string &output);

} // namespace support

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs this test program once more under another environment, with other tests: for what is fixed at the start of a process.
#include <array>
#include <cstdio>
#include <filesystem>
#include <string>

namespace support {

struct Again {
  std::string output;
  int status = -1;
  // The text between two marks, "" when they are not there.
  std::string between(const std::string &begin, const std::string &end) const {
    const auto from = output.find(begin), to = output.find(end);
    return from == std::string::npos || to == std::string::npos
               ? ""
               : output.substr(from + begin.size(), to - from - begin.size());
  }
};

inline Again run_again(const std::string &environment, const std::string &filter) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command = environment + " '" + self + "' '--gtest_filter=" + filter + "' 2>&1";
  Again child;
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe) return child;
  std::array<char, 4096> buffer;
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    child.output.append(buffer.data(), n);
  child.status = pclose(pipe);
  return child;
}

} // namespace support

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A large file written front to back: under another name until it is whole and on the disk.
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace base {

class OutputFile {
public:
  // Opens "<path>.partial". Every error: code and number of the caller's subject, with the system's reason.
  OutputFile(std::filesystem::path path, Exit code, std::string_view number);
  ~OutputFile(); // unfinished: removed
  OutputFile(const OutputFile &) = delete;
  void write(std::string_view bytes);
  void finish(); // fsync, then the final name
  std::uint64_t written() const { return written_; }

private:
  [[noreturn]] void fail(int error) const;

  std::filesystem::path path_, partial_;
  Exit code_;
  std::string number_;
  int file_ = -1;
  bool finished_ = false;
  std::uint64_t written_ = 0, sent_ = 0;
};

} // namespace base

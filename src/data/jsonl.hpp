// SPDX-License-Identifier: Apache-2.0
#pragma once
// Lines of JSONL files, in order, read in batches. Blank lines are passed over; a byte order mark at a file's beginning is dropped.
#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "data/glob.hpp"

namespace data {

struct JsonLine {
  std::string text, where; // where: file:line
};

class JsonLines {
public:
  explicit JsonLines(std::vector<FoundFile> files) : files_(std::move(files)) {}
  // Lines of about so many bytes; none at the end. Errors E112 (cannot be read), E113 (a line longer than 1 GiB).
  std::vector<JsonLine> next(std::size_t bytes);

private:
  bool read(std::string &line); // of the open file
  std::vector<FoundFile> files_;
  std::size_t file_ = 0, line_ = 0;
  std::ifstream in_;
  bool open_ = false;
};

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiny deck in a scratch folder, with data built once per test program.
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace support {

class TinyRun {
public:
  TinyRun() {
    std::string deck = read_text(std::string(HADAL_SOURCE_DIR) + "/input/pretrain/tiny.toml");
    const std::string here = "paths = [\"docs\", \"src\"]", source = HADAL_SOURCE_DIR;
    deck.replace(deck.find(here), here.size(),
                 "paths = [\"" + source + "/docs\", \"" + source + "/src\"]");
    write_text(scratch_.path() / "tiny.toml", deck);
    built_ = run({hadal(), "data", "build", "tiny.toml"}, scratch_.path().string());
  }
  const Outcome &built() const { return built_; }
  std::string folder() const { return scratch_.path().string(); }
  std::filesystem::path at(const std::string &name) const { return scratch_.path() / name; }
  // hadal run tiny.toml run.directory=DIRECTORY ...
  std::vector<std::string> command(const std::string &directory,
                                   const std::vector<std::string> &more = {}) const {
    std::vector<std::string> words = {hadal(), "run", "tiny.toml", "run.directory=" + directory};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome train(const std::string &directory, const std::vector<std::string> &more = {}) const {
    return run(command(directory, more), folder());
  }

private:
  Scratch scratch_;
  Outcome built_;
};

// Rows of a history.csv without its remarks; the first has the names.
inline std::vector<std::vector<std::string>> rows_of(const std::filesystem::path &csv) {
  std::vector<std::vector<std::string>> rows;
  std::istringstream text(read_text(csv));
  for (std::string line; std::getline(text, line);) {
    if (line.empty() || line[0] == '#') continue;
    auto &row = rows.emplace_back(1);
    for (const char c : line)
      if (c == ',')
        row.emplace_back();
      else
        row.back() += c;
  }
  return rows;
}
inline std::vector<std::string> columns_of(const std::filesystem::path &csv) {
  const auto rows = rows_of(csv);
  return rows.empty() ? std::vector<std::string>() : rows[0];
}
// A column by name, as text, row by row.
inline std::vector<std::string> column(const std::filesystem::path &csv, const std::string &name) {
  std::vector<std::string> values;
  const auto rows = rows_of(csv);
  if (rows.empty()) return values;
  const auto index =
      static_cast<std::size_t>(std::find(rows[0].begin(), rows[0].end(), name) - rows[0].begin());
  for (std::size_t r = 1; r < rows.size(); ++r)
    if (index < rows[r].size()) values.push_back(rows[r][index]);
  return values;
}

} // namespace support

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiny deck in a scratch folder, with data built once per test program.
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

// Column of a history.csv by name, as text, row by row.
inline std::vector<std::string> column(const std::filesystem::path &csv, const std::string &name) {
  std::vector<std::string> values;
  const auto cells = [](const std::string &line) {
    std::vector<std::string> out(1);
    for (const char c : line)
      if (c == ',')
        out.emplace_back();
      else
        out.back() += c;
    return out;
  };
  const std::string text = read_text(csv);
  std::size_t index = 0, begin = 0;
  bool head = true;
  while (begin < text.size()) {
    const auto end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    begin = end == std::string::npos ? text.size() : end + 1;
    if (line.empty() || line[0] == '#') continue;
    const auto row = cells(line);
    if (head) {
      while (index < row.size() && row[index] != name) ++index;
      head = false;
    } else if (index < row.size()) {
      values.push_back(row[index]);
    }
  }
  return values;
}

} // namespace support

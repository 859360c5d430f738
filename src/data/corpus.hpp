// SPDX-License-Identifier: Apache-2.0
#pragma once
// Documents of one source, in order of its files: each text file is a document, or each line of a JSONL file. A byte order mark
// is dropped; documents without any character other than white space are skipped and counted.
#include <cstdint>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "data/glob.hpp"
#include "data/options.hpp"

namespace data {

// Where the next document begins. line counts from 0 and is for messages only.
struct Position {
  std::uint64_t file = 0, offset = 0, line = 0;
  bool operator==(const Position &) const = default;
};

struct Skipped {
  std::int64_t empty = 0, bad = 0; // bad: not valid UTF-8
  bool operator==(const Skipped &) const = default;
};

class Corpus {
public:
  // Finds the files of the source; errors E111, E112.
  Corpus(const SourceOptions &source, BadText on_bad_text);

  // The next document or nothing at the end. Errors: E112 (cannot be read), E113 (not a JSON object), E114 (no such field, or
  // not text), E115 (not valid UTF-8), E128 (changed since the files were listed).
  std::optional<std::string> next();

  void seek(const Position &position); // and forgets the skipped counts
  const Position &tell() const { return position_; }
  const Skipped &skipped() const { return skipped_; }
  std::uint64_t bytes_read() const; // of all files before the position
  std::uint64_t bytes_total() const;
  const std::vector<FoundFile> &files() const { return files_; }
  std::string fingerprint() const; // of the files' paths, sizes and times

private:
  std::optional<std::string> next_text();
  std::optional<std::string> next_line();
  bool open_lines();
  bool read_line(std::string &line);
  std::optional<std::string> accept(std::string &&text, const std::string &where);
  std::string field_of(const std::string &line, const std::string &where) const;

  SourceOptions source_;
  BadText on_bad_text_;
  std::vector<FoundFile> files_;
  std::vector<std::uint64_t> before_; // bytes of the files before each file
  Position position_;
  Skipped skipped_;
  std::ifstream lines_;
  bool open_ = false;
};

} // namespace data

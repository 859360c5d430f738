// SPDX-License-Identifier: Apache-2.0
#pragma once
// Answers that were given, a line of JSONL each, appended as they come: whatever ends the program, what was paid for is there. The first
// line says what was asked of whom; a line that a crash has cut short is dropped.
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <utility>

namespace distil {

struct Given {
  std::string text;
  bool ended = false;       // by itself
  std::int64_t tokens = -1; // as the teacher counts them; -1: it did not say
};

class Journal {
public:
  using Key = std::pair<std::string, std::int64_t>; // question, sample
  // asking: all that answers depend on, in words. Errors E372 (a journal of another asking), E373 (damaged), E374 (cannot be read or
  // written). Takes what is there, unless replace.
  Journal(std::filesystem::path file, std::string asking, bool replace);
  ~Journal();
  Journal(const Journal &) = delete;
  void add(const Key &key,
           const Given &given);            // on the disk when it returns; of any thread; error E374
  const Given *find(const Key &key) const; // while no other thread adds
  std::int64_t size() const;

private:
  void read(const std::string &asking);
  void append(const std::string &line);
  std::filesystem::path path_;
  mutable std::mutex mutex_;
  std::map<Key, Given> answers_;
  int file_ = -1;
};

} // namespace distil

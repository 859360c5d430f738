// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the writers of one attempt meet: "step-N.<attempt>.partial", which no other attempt shares. Each leaves state-K.h5 and then
// part-K.json, or part-K.failed with its reason; writer 0 waits for all, and the others for the step directory to come into being with
// this attempt's name in it. Only files are used: no message passing. Directories are listed anew at every look, as network file
// systems want it.
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/parts.hpp"

namespace checkpoint {

inline constexpr const char *kAttemptFile = "attempt";

class Meeting {
public:
  Meeting(const WriterOptions &options, const Snapshot &snapshot);
  const std::filesystem::path &place() const { return place_; } // step-N
  const std::filesystem::path &partial() const { return partial_; }
  std::filesystem::path state_file() const;

  // Makes the directory. Files of ours in it, or a checkpoint of this attempt: its name was used before, a fault of the program.
  void join();
  // Throws when another writer has failed: its E202 as it is, everything else as E201 that names it. Looks at most twice a second.
  void heed();
  // After a fault of ours: throws the reason when it is that our file was taken away, because the writing was given up meanwhile.
  void explain();
  // Writer 0: the parts of all, in order. E201, E202.
  std::vector<Part> gather();
  // The others: returns when the checkpoint is in its place. E201, E202.
  void await_outcome();
  // Leaves the reason for the others, unless they gave it to us; then takes away what is ours. Never throws.
  void leave(const std::string &number, const std::string &reason) noexcept;

private:
  using Names = std::set<std::string>;
  Names look() const;
  void throw_failures(const Names &names);
  std::vector<int> missing(const Names &names) const;
  [[noreturn]] void too_late(const std::vector<int> &writers, const std::string &what) const;
  std::optional<Part> read_part(int writer) const;
  bool landed() const;
  void note_failure(const std::string &name, const std::string &text) const;
  [[noreturn]] void given_up();
  bool abandoned() const { return options_.abandoned && *options_.abandoned; }
  void require_wanted();
  // patient: also those who have not given their part must have left.
  bool all_gone(const Names &names, bool patient) const;
  void clear(bool patient) const;
  void remove() const;

  const WriterOptions &options_;
  std::string attempt_;
  std::filesystem::path place_, partial_;
  base::Stopwatch looked_;
  bool joined_ = false;
  bool second_hand_ = false; // the failure is another's
};

} // namespace checkpoint

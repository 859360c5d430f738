// SPDX-License-Identifier: Apache-2.0
#pragma once
// The sizes that all programs are tested with.
#include <string>
#include <vector>

#include "schedule/check.hpp"
#include "schedule/program.hpp"

namespace schedule_test {

using schedule::Action;
using schedule::Content;
using schedule::Kind;
using schedule::Program;
using schedule::Verb;

struct Size {
  Kind kind;
  int ranks, micro_batches;
};

inline std::string name(const Size &size) {
  return schedule::word(size.kind) + " on " + std::to_string(size.ranks) + " with " +
         std::to_string(size.micro_batches);
}

// PP (stages) up to 16, and micro-batches from the least possible number on. Below whole_pattern() DualPipe is shortened: there,
// every number.
inline std::vector<Size> sizes() {
  std::vector<Size> all;
  for (const int n : {1, 2, 7}) all.push_back({Kind::accumulate, 1, n});
  for (int r = 1; r <= 16; ++r)
    for (const Kind kind : {Kind::one_f_one_b, Kind::zb1p})
      for (const int n : {1, 2, 3, r, r + 1, 2 * r, 4 * r + 1}) all.push_back({kind, r, n});
  for (int r = 2; r <= 16; r += 2) {
    for (int n = 2; n < 2 * r; n += 2) all.push_back({Kind::dualpipe, r, n});
    for (const int n : {2 * r, 2 * r + 2, 3 * r, 4 * r + 2, 6 * r})
      all.push_back({Kind::dualpipe, r, n});
  }
  for (int r = 1; r <= 8; ++r) {
    for (int n = 1; n < 2 * r; ++n) all.push_back({Kind::dualpipev, r, n});
    for (const int n : {2 * r, 2 * r + 1, 3 * r, 4 * r + 2, 6 * r})
      all.push_back({Kind::dualpipev, r, n});
  }
  return all;
}

// The computations of a rank without messages: "F0 F1 B0 W0".
inline std::string work_of(const Program &program, int rank) {
  std::string text;
  for (const Action &action : program.actions[static_cast<std::size_t>(rank)])
    if (!schedule::is_message(action.verb)) text += (text.empty() ? "" : " ") + label(action);
  return text;
}

inline std::string first_fault(const Program &program) {
  const schedule::Verdict verdict = schedule::check(program);
  return verdict.ok() ? "ok" : verdict.faults.front();
}

} // namespace schedule_test

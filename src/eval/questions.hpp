// SPDX-License-Identifier: Apache-2.0
#pragma once
// From the rows of a task to what is asked of the model, as text.
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/task.hpp"

namespace eval {

struct Question {
  std::string group, place;
  // Before the answer: one for each choice where the context mentions {{choice}}, else one.
  std::vector<std::string> contexts;
  std::vector<std::string> continuations; // kind choice: one for each choice
  std::vector<std::string> choices;       // texts as they stand in the files, in the order asked
  std::vector<std::string> letters;
  std::size_t gold = 0;           // kind choice: index of the right one
  std::vector<std::string> golds; // kind generate and synthetic: right answers
  Record record;                  // the row, for judges that want more
};

struct Asking {
  std::filesystem::path data; // folder below which the task's folder lies
  std::int64_t shots = -1;    // -1: as the task says
  std::int64_t limit = 0;     // questions of each group at most; 0: all
  std::uint64_t seed = 0;
};

// The rows of the task's files, sorted by path. Errors E301 (no such file), E302, E303, E309, E317, E304 (no row at all).
Records read_rows(const Task &task, const std::filesystem::path &folder,
                  const std::vector<std::string> &files, const std::string &labels);
// Examples before each question: as asked, -1: as the task says; 0 where a task has no answers that could be shown.
std::int64_t shots_of(const Task &task, std::int64_t asked);
std::filesystem::path folder_of(const Task &task, const std::filesystem::path &data);

// All questions of a task that reads files. Few-shot examples are chosen from the rows of the same group, never the question itself.
// Errors E305 (a field that a template wants), E306 (the answer is none of the choices), E315 (too few examples).
std::vector<Question> make_questions(const Task &task, const Asking &asking);

} // namespace eval

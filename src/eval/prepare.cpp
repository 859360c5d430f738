// SPDX-License-Identifier: Apache-2.0
// Before the model: tasks, files, questions.
#include <set>

#include <fmt/format.h>

#include "eval/evaluate.hpp"
#include "eval/instructions.hpp"
#include "eval/synthetic.hpp"

namespace eval {

using base::Exit, base::UserError;

namespace {

Asking asking_of(const Options &options, const TaskOptions &task) {
  Asking asking;
  asking.data = options.data;
  asking.shots = task.shots, asking.limit = task.limit;
  asking.seed = static_cast<std::uint64_t>(options.seed);
  return asking;
}

void check_runner(const Task &task, bool with_runner) {
  if (task.task.kind == Kind::generate && task.score.compare == Compare::program && !with_runner)
    throw UserError(
        Exit::deck, "E310", task.file, "compare = \"program\"",
        fmt::format("{} runs programs that the model wrote. Say evaluate.programs = true "
                    "(docs/rewards.md has what the sandbox keeps from them), or leave "
                    "the task out.",
                    task.task.name));
}

} // namespace

std::vector<Prepared> prepare(const Options &options, bool with_runner) {
  std::vector<Prepared> all;
  std::set<std::string> names;
  for (const TaskOptions &one : options.tasks) {
    Prepared p{read_task(one.file), one, {}};
    if (!names.insert(p.task.task.name).second)
      throw UserError(Exit::deck, "E318", one.file, p.task.task.name,
                      "Two tasks have this name; results could not be told apart.");
    check_runner(p.task, with_runner);
    if (!one.data.empty()) p.task.data.folder = std::filesystem::absolute(one.data).string();
    if (p.task.task.kind != Kind::synthetic)
      p.questions = make_questions(p.task, asking_of(options, one));
    if (p.task.score.compare == Compare::instructions)
      for (const Question &question : p.questions) read_instructions(question.record);
    all.push_back(std::move(p));
  }
  return all;
}

void prepare_puzzles(std::vector<Prepared> &tasks, const Options &options,
                     const data::Tokenizer &tokenizer, std::int64_t longest) {
  const auto count = [&](const std::string &text) {
    return static_cast<std::int64_t>(tokenizer.encode(text).size()) + 1; // with its beginning
  };
  for (Prepared &p : tasks)
    if (p.task.task.kind == Kind::synthetic)
      p.questions = make_puzzles(p.task, asking_of(options, p.options), count, longest);
}

} // namespace eval

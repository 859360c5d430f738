// SPDX-License-Identifier: Apache-2.0
#pragma once
// The table [evaluate] of a deck and its list [[evaluate.task]].
#include <cstdint>
#include <string>
#include <vector>

#include "deck/deck.hpp"

namespace eval {

enum class Existing { resume, replace };
enum class Precision { deck, f32, bf16 };

// One [[evaluate.task]]: a task with keys of its own.
struct TaskOptions {
  std::string file, data;
  std::int64_t shots = -1, limit = -1;
  template <class R> void keys(R &r) {
    r.required(file, "file", "a task file, or the name of one in evaluate.task_folder");
    r.key(data, "data", "", "the folder of its files; empty: its folder below evaluate.data");
    r.key(shots, "shots", -1, -1, 1 << 10, "examples", "-1: as evaluate.shots");
    r.key(limit, "limit", -1, -1, std::int64_t{1} << 40, "questions", "-1: as evaluate.limit");
  }
};

struct Options {
  std::string checkpoint, directory, task_folder, data;
  std::vector<std::string> task_names;
  std::int64_t shots = -1, limit = 0, seed = 0, batch = 16, max_length = 0, bootstrap = 1000,
               max_tokens = 0, every = 0;
  bool chat = false, groups = false, programs = false, samples = false;
  Precision precision = Precision::deck;
  Existing existing = Existing::resume;
  std::vector<TaskOptions> tasks; // the names of `tasks` first, then the list

  template <class R> void keys(R &r) {
    r.key(checkpoint, "checkpoint", "", "a step directory, or a run's (its newest)");
    r.key(task_names, "tasks",
          "names of tasks (files NAME.toml in task_folder) or paths of task files");
    r.key(task_folder, "task_folder", "input/evaluate/tasks", "where named tasks lie");
    r.key(data, "data", "input/evaluate/samples",
          "folder with a folder of files for each task: your copies of the benchmarks");
    r.key(directory, "directory", "", "of the results; empty: checkpoints/<deck name>");
    r.key(shots, "shots", -1, -1, 1 << 10, "examples",
          "before each question; -1: as the task says");
    r.key(limit, "limit", 0, 0, std::int64_t{1} << 40, "questions",
          "of each task, or of each group of it, at most; 0: all");
    r.key(seed, "seed", 0, 0, std::int64_t{1} << 62, "",
          "of shuffled choices, drawn examples, made-up prompts and sampled answers");
    r.key(batch, "batch", 16, 1, 1 << 16, "questions",
          "asked at once; results do not depend on it");
    r.key(max_length, "max_length", 0, 0, std::int64_t{1} << 30, "tokens",
          "of prompt and answer together; longer prompts lose their beginning; 0: batch.sequence "
          "of the checkpoint");
    r.key(max_tokens, "max_tokens", 0, 0, 1 << 20, "tokens",
          "of an answer at most, whatever the tasks say; 0: as they say");
    r.template choice<Precision>(
        precision, "precision", Precision::deck,
        {{"deck", Precision::deck}, {"f32", Precision::f32}, {"bf16", Precision::bf16}},
        "dtype of the arithmetic; deck: as in training");
    r.key(chat, "chat", false, "each prompt is a user's turn in the chat layout");
    r.key(programs, "programs", false,
          "run programs that the model wrote, in the sandbox ([sandbox]); else tasks that need it "
          "are refused");
    r.key(groups, "groups", false, "the table lists groups (subjects, lengths) too");
    r.key(bootstrap, "bootstrap", 1000, 0, 1 << 24, "rounds",
          "for standard errors of what is no mean (bits per byte); 0: none");
    r.template choice<Existing>(existing, "existing", Existing::resume,
                                {{"resume", Existing::resume}, {"replace", Existing::replace}},
                                "results in the directory: go on with them, or begin anew");
    r.key(every, "every", 0, 0, std::int64_t{1} << 40, "steps",
          "in the deck of a training: asked every so many steps, and behind the last one; 0: only "
          "there");
    r.key(samples, "samples", false,
          "in the deck of a training: what was asked and said is kept every time, not only at the "
          "end");
  }
};

// Reads both tables. Errors E318 (no task named, or one twice), E300 (a name without a file).
Options read_options(deck::Deck &deck);
// The file of a named task. E300 names the nearest.
std::string task_file(const std::string &name, const std::string &folder, const std::string &where);
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The evaluation: tasks are read, asked in batches, judged, and written down. The model is whatever implements eval::Model: a
// checkpoint's, or the live one of a training run.
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/chat_template.hpp"
#include "eval/model.hpp"
#include "eval/options.hpp"
#include "eval/questions.hpp"
#include "eval/results.hpp"
#include "eval/runner.hpp"

namespace eval {

// How texts become tokens of a prompt.
struct Wording {
  std::optional<data::Token> start;     // before plain text, as documents begin in training
  std::optional<data::chat::Form> chat; // the text is a user's turn
};

struct Prepared {
  Task task;
  TaskOptions options;
  std::vector<Question> questions;
};

// Reads tasks and their files and makes all questions: what a deck, a task or a file has wrong is found here, before any model is
// loaded, save what needs the tokenizer. Errors E300-E318. with_runner: programs can be run (else E310).
std::vector<Prepared> prepare(const Options &options, bool with_runner);
// The synthetic tasks' questions, which need the tokenizer. longest: of the model.
void prepare_puzzles(std::vector<Prepared> &tasks, const Options &options,
                     const data::Tokenizer &tokenizer, std::int64_t longest);

struct Evaluation {
  std::filesystem::path directory; // "": nothing is written
  std::string model; // what is evaluated, for results.json and against mixing: a state hash
  Wording wording;
  Runner *runner = nullptr;
  std::function<void(const std::string &)> say; // progress; may be empty
};

// Asks everything. In the directory: samples_<task>.jsonl (grows batch by batch; an evaluation that was broken off goes on behind it),
// results.json, results.txt (the table), grid_<task>.csv. Errors E312 (a continuation longer than the model allows), E313 (the
// directory holds samples of another evaluation), E314 (it cannot be written).
std::vector<TaskResult> evaluate(Model &model, std::vector<Prepared> &tasks, const Options &options,
                                 const Evaluation &evaluation);

// Tokens of a context and of what follows it, as lm-evaluation-harness cuts them: encoded together, blanks at the end of the context
// belong to the continuation, so that no token of the continuation depends on a cut that no text has.
struct Pair {
  std::vector<data::Token> context, continuation;
};
Pair encode_pair(const data::Tokenizer &tokenizer, const Wording &wording, std::string context,
                 std::string continuation);
std::vector<data::Token> encode_prompt(const data::Tokenizer &tokenizer, const Wording &wording,
                                       const std::string &text);

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// From what the model said to a question's values.
#include <string>
#include <vector>

#include "eval/model.hpp"
#include "eval/questions.hpp"
#include "eval/results.hpp"
#include "eval/runner.hpp"

namespace eval {

// acc: is the right choice the most likely one? acc_norm: the same with log-likelihoods divided by the bytes of the choices. Ties go to
// the first, as everywhere.
std::vector<Value> judge_choice(const Question &question, const std::vector<Likelihood> &said);
// One document: -log2 p over bytes, and perplexities of bytes and words (between blanks).
std::vector<Value> judge_text(const std::string &document, double log_likelihood);
// Several answers: the mean over them; of programs pass@k. runner: only for compare = "program". extracted: what each filter found in
// the first answer, for the record.
std::vector<Value> judge_answers(const Task &task, const Question &question,
                                 const std::vector<std::string> &answers, Runner *runner,
                                 std::vector<std::string> &extracted);

} // namespace eval

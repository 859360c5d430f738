// SPDX-License-Identifier: Apache-2.0
#pragma once
// Prompts of a wanted length in tokens, made up by a seed: a needle in filler text (depth x length), chains of variables, frequent
// words. The filler is made of sentences of our own from short lists of words, so that no text must be fetched.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "eval/questions.hpp"

namespace eval {

// Tokens of a text, by the model's tokenizer.
using CountTokens = std::function<std::int64_t(const std::string &)>;

// Sentence `index` of the filler of `seed`; the same ones for ever.
std::string filler_sentence(std::uint64_t seed, std::uint64_t index);

// All prompts of the task, the groups "length=512 depth=0.25" (needle) or "length=512". A prompt has at most its length in tokens and
// is as near to it as sentences (lines, words) allow; right answers are in golds. limit: prompts of a group at most. Error E312: a length
// that is too short for the question itself, or (longest > 0) longer than the model allows.
std::vector<Question> make_puzzles(const Task &task, const Asking &asking, const CountTokens &count,
                                   std::int64_t longest);

} // namespace eval

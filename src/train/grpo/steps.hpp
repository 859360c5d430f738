// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rewards of an answer's steps (docs/grpo.md, "Process rewards"; DeepSeekMath, arXiv 2402.03300, section 4.1.3).
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"
#include "train/grpo/options.hpp"

namespace train::grpo {

struct Step {
  std::size_t end = 0; // tokens of the answer up to the end of this step
  double reward = 0;
  double advantage = 0; // of its tokens: its own and all later steps' normalised rewards
};
using Steps = std::vector<Step>;

// An answer cut behind each `mark`, at borders of tokens. A step says something: marks with nothing but blanks before them end none, and
// what follows the last step without saying anything belongs to it. An answer of one token at least has one step at least.
Steps cut_into_steps(std::span<const data::Token> answer, const data::Tokenizer &tokenizer,
                     const std::string &mark);
// Text of the first tokens of an answer, as it is judged.
std::string text_upto(std::span<const data::Token> answer, std::size_t end,
                      const data::Tokenizer &tokenizer);

// Over groups of G answers that follow each other: (1) r' = (r - mean) / std over all steps of the group's answers, by `spread`; 0 where
// they are all equal   (2) advantage of step j = sum of r' over the steps j, j + 1, ... of the same answer
void weigh_steps(std::span<Steps *const> answers, std::int64_t group, Spread spread);
// Are all rewards of these answers' steps equal?
bool flat_steps(std::span<Steps *const> answers);

} // namespace train::grpo

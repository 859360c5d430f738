// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/steps.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace train::grpo {
namespace {

bool says_something(const std::string &text, std::size_t from, std::size_t to) {
  return text.find_first_not_of(" \t\r\n", from) < to;
}

std::string said_by(data::Token token, const data::Tokenizer &tokenizer) {
  return tokenizer.is_special(token) ? std::string() : tokenizer.token_bytes(token);
}

} // namespace

Steps cut_into_steps(std::span<const data::Token> answer, const data::Tokenizer &tokenizer,
                     const std::string &mark) {
  HADAL_CHECK(!mark.empty(), "steps without a mark");
  std::string text;
  std::vector<std::size_t> upto; // bytes of the text, by token
  for (const data::Token token : answer) {
    text += said_by(token, tokenizer);
    upto.push_back(text.size());
  }
  Steps steps;
  std::size_t from = 0;
  for (std::size_t at = text.find(mark); at != std::string::npos;
       at = text.find(mark, at + mark.size())) {
    if (!says_something(text, from, at)) continue;
    from = at + mark.size();
    const auto token = std::lower_bound(upto.begin(), upto.end(), from) - upto.begin();
    const auto end = static_cast<std::size_t>(token) + 1;
    if (steps.empty() || steps.back().end < end) steps.push_back({end, 0, 0});
  }
  const bool rest = says_something(text, from, text.size());
  if (!answer.empty() && (steps.empty() || (rest && steps.back().end < answer.size())))
    steps.push_back({answer.size(), 0, 0});
  else if (!steps.empty())
    steps.back().end = answer.size();
  return steps;
}

std::string text_upto(std::span<const data::Token> answer, std::size_t end,
                      const data::Tokenizer &tokenizer) {
  std::string text;
  for (const data::Token token : answer.first(end)) text += said_by(token, tokenizer);
  return text;
}

bool flat_steps(std::span<Steps *const> answers) {
  const Step *first = nullptr;
  for (const Steps *steps : answers)
    for (const Step &step : *steps) {
      if (!first) first = &step;
      if (step.reward != first->reward) return false;
    }
  return true;
}

void weigh_steps(std::span<Steps *const> answers, std::int64_t group, Spread spread) {
  const auto size = static_cast<std::size_t>(group);
  HADAL_CHECK(size > 0 && answers.size() % size == 0, "{} answers in groups of {}", answers.size(),
              group);
  for (std::size_t g = 0; g < answers.size(); g += size) {
    const auto of_group = answers.subspan(g, size);
    const bool none = flat_steps(of_group);
    double n = 0, mean = 0, squares = 0;
    for (const Steps *steps : of_group)
      for (const Step &step : *steps) mean += step.reward, n += 1;
    mean /= std::max(n, 1.0);
    for (const Steps *steps : of_group)
      for (const Step &step : *steps) squares += (step.reward - mean) * (step.reward - mean);
    const double by = spread == Spread::deviation && !none ? std::sqrt(squares / n) : 1.0;
    for (Steps *steps : of_group) {
      double sum = 0;
      for (auto step = steps->rbegin(); step != steps->rend(); ++step) {
        sum += none ? 0.0 : (step->reward - mean) / by;
        step->advantage = sum;
      }
    }
  }
}

} // namespace train::grpo

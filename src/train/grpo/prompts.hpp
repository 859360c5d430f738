// SPDX-License-Identifier: Apache-2.0
#pragma once
// The problems of a GRPO run: lines of JSONL, their prompts as tokens, their other fields for the rewards. An epoch is all of them in an
// order shuffled by (seed, epoch); the place of a problem in the run decides which it is.
#include <cstdint>
#include <string>
#include <vector>

#include "data/json.hpp"
#include "data/tokenizer.hpp"
#include "train/grpo/options.hpp"

namespace train::grpo {

struct Problem {
  data::Json fields;
  std::string place; // file:line
  std::vector<data::Token> prompt;
};

class Prompts {
public:
  // longest: tokens of a prompt at most. Errors E111 to E113 (files), E130 to E132 and E134 (chats), E352 (a line without a prompt), E353
  // (a prompt that leaves no room for an answer), E350 (nothing).
  Prompts(const Options &options, const data::Tokenizer &tokenizer, std::int64_t longest,
          std::uint64_t seed);
  std::int64_t size() const { return static_cast<std::int64_t>(problems_.size()); }
  const Problem &at(std::int64_t place) const; // place of the run: 0, 1, ...
  const std::vector<Problem> &all() const { return problems_; }
  std::string content_hash() const;
  std::int64_t tokens() const;

private:
  std::vector<Problem> problems_;
  std::uint64_t seed_;
};

} // namespace train::grpo

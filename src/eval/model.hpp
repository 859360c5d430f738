// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an evaluation needs of a model: log-likelihoods and texts, many at once, so that an engine may batch them as it likes. A
// request's result must not depend on the others. The same requests give the same results.
#include <cstdint>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"

namespace eval {

struct Continuation {
  std::vector<data::Token> context;      // one token at least
  std::vector<data::Token> continuation; // one token at least
};
struct Likelihood {
  double sum = 0;      // log p(continuation | context), natural logarithm
  bool greedy = false; // is every token of the continuation the most probable one?
};
struct Prompt {
  std::vector<data::Token> tokens;
  std::int64_t max_tokens = 0;
  double temperature = 0, top_p = 1;
  std::uint64_t seed = 0;
  std::vector<std::string>
      stop; // the text ends before the first of these, or at the end of the document
};
struct Generated {
  std::string text;
  std::int64_t tokens = 0;
  bool ended = false; // by a stop or the end of the document, not by max_tokens
};

class Model {
public:
  virtual ~Model() = default;
  virtual const data::Tokenizer &tokenizer() const = 0;
  // Tokens that context and continuation, or prompt and answer, have at most.
  virtual std::int64_t longest() const = 0;
  virtual std::vector<Likelihood> log_likelihoods(const std::vector<Continuation> &requests) = 0;
  virtual std::vector<Generated> generate(const std::vector<Prompt> &prompts) = 0;
};

} // namespace eval

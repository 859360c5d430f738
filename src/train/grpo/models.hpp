// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reward models that rules of kind "model" name: found before anything is taken, loaded on the ranks of the run, asked by all of them
// together.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "infer/scores.hpp"
#include "reward/rules.hpp"
#include "train/ranks.hpp"

namespace train::grpo {

// The options with grpo.models filled: what the rules' directories hold. On all ranks together; rank 0 verifies. Errors E210, E211, E354 (no
// reward model), E356 (another chat layout), E014.
train::Options with_models(train::Options options, comm::Communicator &world);
// Weights and scratch of all of them on this rank.
template <class A> std::size_t model_bytes(const train::Options &options, const Ranks &ranks);

// A conversation to be scored: the question as the rule shows it, tokens of the answer.
struct Shown {
  const data::Json *problem = nullptr;
  const std::string *place = nullptr;
  std::span<const data::Token> prompt; // as it was asked
  std::span<const data::Token> answer;
};

template <class A> class Models {
public:
  // Error E355 (another tokenizer).
  Models(const train::Options &options, const Ranks &ranks, const data::Tokenizer &tokenizer);
  // Does the rule leave room for an answer to the problem? Errors E333, E357.
  void check(const data::Json &problem, const std::string &place) const;
  // On all ranks together with the same conversations.
  std::vector<double> ask(const reward::RuleOptions &rule, const std::vector<Shown> &all);

private:
  std::vector<data::Token> question(const reward::RuleOptions &rule, const data::Json &problem,
                                    const std::string &place) const;

  const train::Options &o_;
  const data::Tokenizer &tokenizer_;
  std::map<std::string, std::unique_ptr<infer::Scores<A>>> scores_; // by what the deck says
};

} // namespace train::grpo

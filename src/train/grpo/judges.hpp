// SPDX-License-Identifier: Apache-2.0
#pragma once
// The rewards of a round: rules for answers and for steps, each group judged by one rank and told to all. Reward models are asked before,
// by all ranks together.
#include "train/grpo/models.hpp"
#include "train/grpo/rollouts.hpp"

namespace train::grpo {

template <class A> class Judges {
public:
  // Errors of Models, and those of reward::Rules for the machine and each problem.
  Judges(const train::Options &options, const Ranks &ranks, const Answers &answers);
  bool has_steps() const { return !steps_.rules().empty(); }
  bool has_outcome() const { return !outcome_.rules().empty(); }
  // Fills steps, outcome, reward, correct and parts.
  void judge(std::vector<Answered> &answers);

private:
  // What this rank judges: of each item, which answer it belongs to.
  struct Share {
    std::vector<reward::Item> items;
    std::vector<std::size_t> answer;
  };
  using Values = std::map<std::string, std::vector<double>>; // of a reward model, by rule
  bool mine(std::size_t answer) const;
  Share share(const std::vector<Answered> &answers, bool by_step) const;
  // Scores of the models for all answers or all steps, of which those of this rank's share are kept.
  Values ask(const std::vector<Answered> &answers, bool by_step);
  std::vector<reward::Scores> score(const std::vector<Answered> &answers, bool by_step);
  void read(const std::string &text, std::vector<Answered> &answers) const;

  const train::Options &o_;
  const Ranks &ranks_;
  const data::Tokenizer &tokenizer_;
  reward::Rules outcome_, steps_;
  Models<A> models_;
};

} // namespace train::grpo

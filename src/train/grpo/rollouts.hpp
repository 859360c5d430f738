// SPDX-License-Identifier: Apache-2.0
#pragma once
// The rounds of GRPO (docs/grpo.md). A round asks `prompts` problems, samples `group` answers to each from the weights as they are,
// rewards them, and makes of each answer one sample: prompt, answer, padding as a segment of its own. Sample g of the run is answer
// g mod (prompts x group) of round g / (prompts x group), so that the cursor says where a run stands.
//
// All ranks generate together (infer::Engine) and know all answers; rewards are shared among them by groups of answers.
// Memory: the answers of a round; with beta > 0 a second copy of the weights that this rank holds.
#include <filesystem>
#include <memory>

#include "data/samples.hpp"
#include "reward/rules.hpp"
#include "train/grpo/prompts.hpp"
#include "train/grpo/steps.hpp"
#include "train/rounds.hpp"

namespace train::grpo {

struct Answered {
  const Problem *problem = nullptr;
  std::vector<data::Token> tokens;
  std::vector<float> logp;
  std::string text;
  bool ended = false;
  double outcome = 0;               // of the rules for whole answers
  double reward = 0, advantage = 0; // told: outcome and mean of the steps; of the outcome
  Steps steps;                      // where rules judge them
  bool correct = false;
  std::vector<double> parts;
  std::vector<float> ref_logp; // of the answers that this rank trains on, with beta > 0
};

// What the trainer reads: answers of the round under way.
class Answers : public data::Samples {
public:
  Answers(const train::Options &options, std::shared_ptr<const data::Tokenizer> tokenizer);
  std::int64_t round_size() const { return options_.grpo.prompts * options_.grpo.group; }

  std::vector<data::Sample> next(data::Cursor &cursor, std::int64_t count) const override;
  void skip(data::Cursor &cursor, std::int64_t count) const override;
  data::Cursor start() const override;
  std::vector<double> epochs(const data::Cursor &cursor) const override;
  std::int64_t validation_samples() const override { return 0; }
  data::Sample validation(std::int64_t index) const override;
  std::int64_t validation_bytes(std::int64_t) const override { return 0; }
  std::int64_t tokens(int) const override { return prompts.tokens(); }
  const std::vector<std::string> &source_names() const override { return names_; }
  std::string tokenizer_hash() const override;
  std::string content_hash() const override { return prompts.content_hash(); }
  const data::Tokenizer &tokenizer() const override { return *tokenizer_; }
  int vocabulary() const override;

  data::Sample sample(std::int64_t index) const; // of this round
  Prompts prompts;
  std::vector<Answered> answers;
  std::int64_t round = -1;

private:
  const train::Options options_;
  std::shared_ptr<const data::Tokenizer> tokenizer_;
  std::vector<std::string> names_ = {"problems"};
};

// Cache and scratch of the engine on this rank.
template <class A> std::size_t rollout_bytes(const train::Options &options, const Ranks &ranks);

// The rounds of a run whose reading is `answers`. Errors: those of reward::Rules.
template <class A>
std::unique_ptr<Rounds<A>> make_rounds(const train::Options &options, const Ranks &ranks,
                                       Answers &answers);

} // namespace train::grpo

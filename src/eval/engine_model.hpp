// SPDX-License-Identifier: Apache-2.0
#pragma once
// eval::Model on the engine: a checkpoint's weights, or the live ones of a training run, on one rank or on a layout of ranks. Many
// requests share each pass through the model. Log-likelihoods have the bits of the trainer's losses (and of DirectModel), whoever else is
// asked. Nothing is counted into expert loads.
#include "eval/model.hpp"
#include "infer/engine.hpp"

namespace eval {

// A = float or bf16. Weights, tokenizer and the group's communicators must outlive the object.
template <class A> class EngineModel : public Model {
public:
  // longest: tokens of a sequence; the cache gets at least as many, and not more than `batch` such sequences need. What engine says of
  // sequence and vocabulary is not looked at.
  EngineModel(const arch::Dims &dims, model::Weights<A> weights, const data::Tokenizer &tokenizer,
              std::int64_t longest, const infer::EngineOptions &engine,
              const infer::Group &group = {});
  const data::Tokenizer &tokenizer() const override { return tokenizer_; }
  std::int64_t longest() const override { return longest_; }
  // On many ranks: together, with the same requests (together.hpp). Requests whose tokens are the same up to the last share a sequence.
  std::vector<Likelihood> log_likelihoods(const std::vector<Continuation> &requests) override;
  std::vector<Generated> generate(const std::vector<Prompt> &prompts) override;

private:
  std::vector<infer::Result> run(const std::vector<infer::Request> &requests);

  const data::Tokenizer &tokenizer_;
  std::int64_t longest_;
  infer::EngineOptions options_;
  tensor::Arena arena_;
  infer::Engine<A> engine_;
};

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// eval::Model on weights that lie on this rank: a checkpoint's, or the live ones of a training run. Log-likelihoods go through the
// trainer's own forward pass, many sequences packed as segments that do not see each other; texts through infer::Generator, one
// by one. Nothing is counted into expert loads.
#include <map>
#include <memory>

#include "eval/model.hpp"
#include "infer/generator.hpp"
#include "model/stage.hpp"

namespace eval {

struct DirectOptions {
  std::int64_t longest = 1024;
  tensor::Index rows = 4096; // tokens in one forward pass at most, one sequence at least
};

// A = float or bf16. The weights must outlive the object; dims as the weights have them, MTP depth 0.
template <class A> class DirectModel : public Model {
public:
  DirectModel(const arch::Dims &dims, model::Weights<A> weights, const data::Tokenizer &tokenizer,
              DirectOptions options);
  const data::Tokenizer &tokenizer() const override { return tokenizer_; }
  std::int64_t longest() const override { return options_.longest; }
  // Requests whose tokens are the same up to the last (choices of one token) share one sequence.
  std::vector<Likelihood> log_likelihoods(const std::vector<Continuation> &requests) override;
  std::vector<Generated> generate(const std::vector<Prompt> &prompts) override;

private:
  using Tokens = std::vector<data::Token>;
  struct Want {
    std::size_t request; // whose token it is
    tensor::Index row;   // of the packed sequences
    std::int32_t target;
  };
  struct Pack {
    std::vector<const Tokens *> sequences;
    std::vector<Want> wants;
    tensor::Index rows = 0;
  };
  void run(const Pack &pack, std::vector<Likelihood> &results);
  Generated generate_one(tensor::Context &ctx, infer::Generator<A> &generator,
                         const Prompt &prompt) const;

  arch::Dims dims_;
  model::Weights<A> weights_;
  const data::Tokenizer &tokenizer_;
  DirectOptions options_;
};

} // namespace eval

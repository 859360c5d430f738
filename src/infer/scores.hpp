// SPDX-License-Identifier: Apache-2.0
#pragma once
// A reward model that is asked: the score of each conversation, read at its last token, as phase reward trained it. Each conversation is a
// sample of its own, so its score is a function of the weights and its tokens: not of the others, nor of the ranks that share the work.
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "infer/group.hpp"
#include "infer/load.hpp"
#include "model/batch.hpp"
#include "model/stage.hpp"

namespace infer {

struct ScoreOptions {
  Index samples = 1;   // in one pass of a replica
  Index sequence = 64; // longest conversation, in tokens
};

template <class A> class Scores {
public:
  // weights: those that the group's parts and experts hold. The group's communicators live longer.
  Scores(const arch::Dims &dims, LoadedWeights<A> weights, const Group &group,
         const ScoreOptions &options);
  // On all ranks together with the same conversations, none of them empty; all ranks get all scores.
  std::vector<double> operator()(const std::vector<std::vector<data::Token>> &conversations);
  // Of one rank: weights and scratch.
  static std::size_t bytes(const arch::Dims &dims, const Group &group, const ScoreOptions &options);

private:
  using Conversation = std::span<const data::Token>;
  // What a width of rows needs; widths are few.
  struct Width {
    model::Stage<A> stage;
    model::BatchBuffers buffers;
    tensor::Mat<A> border;
  };
  Width &width_of(Index rows);
  std::vector<float> pass(const std::vector<Conversation> &conversations, Index rows);

  arch::Dims dims_;
  LoadedWeights<A> weights_;
  Group group_;
  ScoreOptions options_;
  tensor::Arena arena_, visitors_;
  tensor::Context ctx_;
  std::map<Index, std::unique_ptr<Width>> widths_;
};

} // namespace infer

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A teacher whose probabilities a training follows (Hinton et al. 2015): another model, asked about the same samples. It has the layout of
// the run: every rank asks about its own samples, experts are shared as the student's are. What it says of a token depends on its weights
// and the sample alone, so a run's bits stay those of any layout.
#include <vector>

#include "data/samples.hpp"
#include "infer/load.hpp"
#include "model/batch.hpp"
#include "model/stage.hpp"
#include "train/ranks.hpp"

namespace train::distil {

// The options with what [teacher] names looked at. On all ranks together; rank 0 verifies. Errors E210, E211, E014, E392 (a model without
// language head, or with another vocabulary).
train::Options with_teacher(train::Options options, comm::Communicator &world);
// Weights and scratch on this rank.
template <class A> std::size_t teacher_bytes(const train::Options &options, const Ranks &ranks);

template <class A> class Teacher {
public:
  // Error E393 (another tokenizer).
  Teacher(const train::Options &options, const Ranks &ranks, const std::string &tokenizer_hash);
  // Fills teacher_ids and teacher_logp, batch.micro_batch samples at a time. On all ranks together, each with equally many samples.
  void tell(std::vector<data::Sample> &samples);

private:
  const train::Options &o_;
  model::Stage<A> stage_;
  model::BatchBuffers buffers_;
  tensor::Arena arena_, visitors_;
  tensor::Context ctx_;
  infer::LoadedWeights<A> weights_;
};

} // namespace train::distil

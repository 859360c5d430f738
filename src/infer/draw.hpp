// SPDX-License-Identifier: Apache-2.0
#pragma once
// From rows of logits to tokens and log-probabilities, rows side by side on the host's threads.
#include "infer/forward.hpp"
#include "infer/generator.hpp"

namespace infer {

struct Draw {
  std::size_t of;       // piece of the step
  Index row;            // of the logits
  data::Token scored;   // tell of this token; -1: draw one
  std::uint64_t stream; // of random numbers
  SamplingOptions sampling;
  Index position; // of the token in its sequence
};
struct Drawn {
  std::size_t of;
  bool scored;
  data::Token token;
  float logprob; // logit - log sum exp: with the bits of the trainer's loss, negated
  bool best;     // no token is more probable
};

// Appends to `drawn`, in the order of the draws. Error E262.
void draw_all(const std::vector<Draw> &draws, const Logits &logits, int vocabulary,
              std::vector<Drawn> &drawn);

} // namespace infer

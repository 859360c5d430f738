// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck's table [teacher] (docs/teacher.md): whose probabilities are followed beside the text, and how much.
#include <cstdint>
#include <string>

#include "arch/dims.hpp"
#include "deck/deck.hpp"

namespace train::distil {

struct TeacherOptions {
  std::string checkpoint;
  std::int64_t top_k = 16;
  double temperature = 1, weight = 0.5;
  // Not of the deck: the step that was found, its state, its model (train/distil/teacher.hpp).
  std::string directory, hash;
  arch::Dims dims;

  bool on() const { return !checkpoint.empty(); }
  template <class R> void keys(R &r) {
    r.required(checkpoint, "checkpoint", "the teacher: a step directory, or a run's (its newest)");
    r.key(top_k, "top_k", 16, 1, 1024, "tokens",
          "of each place the teacher's so many most likely tokens are followed; the others count "
          "as one");
    r.key(temperature, "temperature", 1.0, 0.01, 100.0, "",
          "tau: of the teacher's and the student's probabilities that are compared");
    r.key(weight, "weight", 0.5, 0.0, 1.0, "",
          "of tau^2 KL(teacher | student) in the loss; the rest is cross-entropy");
  }
};

} // namespace train::distil

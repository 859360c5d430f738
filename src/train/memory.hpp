// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank takes for a run, before it takes it. Small things (index tables, loads, token buffers) are left out.
#include <cstddef>
#include <string>

#include "train/ranks.hpp"

namespace train {

struct Memory {
  std::size_t weights = 0;   // FP32 values: all, or plain tensors and owned pieces of the matrices
  std::size_t copies = 0;    // of the matrices in the compute dtype
  std::size_t moments = 0;   // of the owned pieces
  std::size_t average = 0;   // of the owned pieces, on the host
  std::size_t gradients = 0; // accumulators of the law of sums
  std::size_t exchange = 0;  // gradients that come from others
  std::size_t activations = 0, scratch = 0;
  std::size_t rollouts =
      0; // grpo: cache and scratch of the engine, weights of the reference, reward models
  std::size_t teacher = 0;  // its weights and scratch
  std::size_t snapshot = 0; // host copy of the owned pieces, from which a checkpoint is written
  std::size_t training() const {
    return weights + copies + moments + average + gradients + exchange + activations + scratch +
           rollouts + teacher;
  }
  std::size_t total() const { return training() + snapshot; }
};

std::string memory_text(const Memory &memory);

// A = compute dtype.
template <class A>
Memory planned_memory(const Options &options, const Ranks &ranks, const model::Layout &layout);

} // namespace train

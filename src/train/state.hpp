// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything of a training run that a checkpoint holds: weights (FP32 masters, router biases among them), moments, the average, counters
// and the data cursor. A = compute dtype, M = moment storage.
#include <memory>
#include <optional>

#include "checkpoint/checkpoint.hpp"
#include "data/sampler.hpp"
#include "model/parameters.hpp"
#include "optim/average.hpp"
#include "train/options.hpp"
#include "train/owned.hpp"

namespace train {

struct Counters {
  std::int64_t step = 0;    // optimiser steps done or skipped
  std::int64_t updates = 0; // of these, steps that moved the weights
  std::int64_t tokens = 0, samples = 0;
  std::int64_t skipped = 0, rolled_back = 0;
  double mean_loss = 0; // running mean of the main loss, for spikes; 0 before the first step
  data::Cursor cursor;
  std::vector<std::pair<std::int64_t, std::int64_t>>
      avoid; // ranges of samples that a roll-back left out: [first, last)
  nlohmann::json to_json() const;
  static Counters from_json(const nlohmann::json &json);
};

// Storage of one moment in either dtype.
struct Moments {
  tensor::Vec<float> f32;
  tensor::Vec<numerics::bf16> bf16;
};

class State {
public:
  State(const Options &options, const Ranks &ranks, const model::Layout &layout);

  const model::Layout &layout;
  const Ownership ownership; // which pieces this rank moves
  // FP32 values. Where layers compute in FP32 they read them here, and all that the rank holds is whole. Else the plain tensors are
  // whole and the matrices are owned pieces.
  tensor::Vec<float> master;
  Moments first, second;     // of the owned pieces
  optim::HostFloats average; // of the owned pieces; empty without [average]
  Counters counters;

  tensor::Vec<float> value(const Owned &piece) const {
    return tensor::Vec<float>(master.data() + piece.master, piece.size());
  }
  tensor::Vec<float> plain(const model::Slot &slot) const {
    HADAL_CHECK(slot.plain(), "{} may be cut", slot.spec.name);
    return tensor::Vec<float>(master.data() + slot.offset, slot.size);
  }
  // Fresh weights: plain tensors and owned pieces; the average is equal to them. Trainer::weights_changed hands them to the others, as
  // after read().
  void initialise(tensor::Context &ctx, std::uint64_t seed);

  // Sections of this rank's pieces, whose items point to host memory: to the live buffers where the host reaches them, otherwise to copies made here.
  // with_copies: always to copies, which stay unchanged while training goes on.
  std::vector<checkpoint::Section> sections(tensor::Context &ctx, bool with_copies);
  // Fills the state from a checkpoint: everything, or the weights alone (moments and counters stay as they are, the average is equal
  // to the weights).
  void read(tensor::Context &ctx, const checkpoint::Reader &reader, bool weights_only);
  // Of the whole state, on all ranks together; rank 0 has it.
  std::string hash(tensor::Context &ctx);
  // All sections with their global tensors, without data: what many writers agree on.
  std::vector<checkpoint::Section> whole() const;
  bool bf16_moments() const { return second.bf16.extent(0) > 0; }

private:
  checkpoint::Section pieces_of_master(tensor::Context &ctx, bool with_copies);
  void read_weights(tensor::Context &ctx, const checkpoint::Reader &reader, bool weights_only);
  void average_is_value(tensor::Context &ctx);

  const Ranks &ranks_;
  struct Copies {
    Kokkos::View<float *, Kokkos::HostSpace> master, first, second, average;
    Kokkos::View<numerics::bf16 *, Kokkos::HostSpace> first_bf16, second_bf16;
  };
  Copies copies_;
};

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A training on this machine, whatever its phase: the loop of steps, restart, stops, checkpoints, validation, history. What a phase
// reads is in reading.hpp.
#include <string>

#include "comm/communicator.hpp"
#include "train/examiner.hpp"
#include "train/options.hpp"

namespace train {

struct Launch {
  std::string restart = "auto"; // auto, none, or a checkpoint
  std::string resolved_deck;    // TOML, written into checkpoints and beside the log
  std::string echo;             // aligned echo of the deck
  Examiner *examiner = nullptr; // asks the model at intervals; null: nobody does
};

// Returns an exit code: 0 finished, 75 stopped in good order, 4 numbers. Throws UserError.
int run(const Options &options, const Launch &launch, comm::Communicator &world);

} // namespace train

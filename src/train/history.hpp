// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a run tells: one line a step on the console, one row a step in history.csv (docs/history.md), loads in expert_load.csv.
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace train {

struct Row {
  std::int64_t step = 0, tokens = 0, samples = 0;
  double loss = 0, mtp_loss = 0, balance_loss = 0, grad_norm = 0, learning_rate = 0;
  double step_seconds = 0, tokens_per_second = 0, peak_share = 0;
  std::int64_t memory_bytes = 0;
  double max_violation = 0;   // mean over layers
  double max_expert_load = 0; // largest load over mean load, all layers
  bool clipped = false, skipped = false;
  std::optional<double> validation_loss, validation_bits_per_byte;
  double stall_seconds = 0;                // training stood still for a checkpoint
  std::vector<std::int64_t> source_tokens; // seen so far, per source
  std::vector<double> more;                // of the phase
  std::string remark;                      // of the phase, for the console
};

// Columns that a phase adds behind the others.
struct MoreColumns {
  std::vector<std::string> names, units;
};

class History {
public:
  // Opens the files of a run; rows after `step` (a restart point) are removed.
  History(const std::filesystem::path &directory, const std::vector<std::string> &sources,
          std::int64_t step, bool has_experts, const MoreColumns &more = {});
  void write(const Row &row);
  void write_loads(std::int64_t step, std::int64_t layer, const std::int64_t *load,
                   std::int64_t experts);

private:
  std::ofstream rows_, loads_;
};

// The console: an aligned line a step, and below it a progress bar on a terminal.
class Console {
public:
  Console(std::int64_t steps, bool has_mtp);
  void step(const Row &row, std::int64_t first_step);

private:
  std::int64_t steps_;
  bool has_mtp_, terminal_;
  base::Stopwatch clock_;
};

std::int64_t resident_bytes();      // of this process now
std::int64_t peak_resident_bytes(); // at most so far
std::int64_t available_bytes(); // memory that this machine can still give; 0 where it does not say

} // namespace train

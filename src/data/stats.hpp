// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables of what a data directory holds.
#include <cstdint>
#include <string>
#include <vector>

#include "data/manifest.hpp"

namespace data {

struct StatsRequest {
  std::int64_t planned_tokens = 0; // that a run will read; 0: not known, no column of epochs
  std::vector<double> weights;     // of the sources; empty: those of the manifest
};

// One row for each source and split: documents, tokens, bytes, bytes a token, share of the training samples, epochs of the
// planned tokens; then what was skipped, the tokenizer and the content hash.
std::string stats(const Manifest &manifest, const StatsRequest &request);

} // namespace data

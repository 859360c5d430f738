// SPDX-License-Identifier: Apache-2.0
#pragma once
// Packed conversations as a reader sees them, and tables of what was read.
#include <string>

#include "data/packed_sampler.hpp"
#include "data/show.hpp"

namespace data {

// The body of a sample: each segment under a line with its size, tokens that are trained on bright and the others dim; without
// colour ⟦ ⟧ stand about what is trained on. Padding is a count.
std::string render_packed(const Sample &sample, const Tokenizer &tokenizer, bool colour);

// Samples [first, first + count) of training or validation, each with a head line; then a legend. E129: no such samples, or so far
// that a thousand epochs would have to be laid out.
std::string show(const PackedSampler &sampler, const ShowRequest &request);

// For each source and split: conversations, tokens, trained tokens, lengths; then what was left out, and how full the samples are.
// planned_samples: that a run will read; 0: not known.
std::string stats(const PackedSampler &sampler, std::int64_t planned_samples);

} // namespace data

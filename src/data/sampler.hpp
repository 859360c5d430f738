// SPDX-License-Identifier: Apache-2.0
#pragma once
// From token shards to training samples. The order of samples is a function of (seed, global index): it depends neither on
// ranks nor on restarts. A sample holds sequence + 1 tokens, so that every position has an input and a target.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"

namespace data {

struct Sample {
  std::vector<Token> tokens;               // sequence + 1
  std::vector<std::int32_t> segments;      // starts of mutually visible runs within tokens; first 0; one entry unless documents are masked
  std::int32_t source = 0;                 // index into the deck's sources
};

// Where the reading stands: everything that a checkpoint needs. Global, not per rank.
struct Cursor {
  std::int64_t next_sample = 0;            // global index of the next sample
  std::vector<std::int64_t> source_samples; // samples drawn from each source so far
  bool operator==(const Cursor &) const = default;
};

struct SamplerOptions {
  std::filesystem::path directory;         // of `hadal data build`
  std::uint64_t seed = 0;
  std::int64_t sequence = 256;
  bool mask_documents = false;             // documents of a sample invisible to each other
  double fim_rate = 0.0;                   // share of documents rewritten as prefix, suffix, middle (PSM)
  std::vector<double> weights;             // per source; empty: the manifest's weights
};

class Sampler {
public:
  explicit Sampler(const SamplerOptions &options); // errors E11x: missing or damaged shards, other tokenizer, too little text
  Sampler(Sampler &&) noexcept;
  ~Sampler();

  // The next count samples; advances the cursor. Samples repeat only after a whole epoch of their source; epochs are counted.
  std::vector<Sample> next(Cursor &cursor, std::int64_t count) const;
  void skip(Cursor &cursor, std::int64_t count) const; // as next, without reading
  Cursor start() const;

  std::int64_t validation_samples() const;
  Sample validation(std::int64_t index) const;         // never shuffled, no FIM; covers the validation text once
  std::int64_t validation_bytes() const;               // UTF-8 bytes of the validation text, for bits per byte
  std::int64_t validation_tokens() const;              // targets that the validation samples cover

  std::int64_t tokens(int source) const;               // training tokens in one epoch of a source
  const std::vector<std::string> &source_names() const;
  std::string tokenizer_hash() const;
  int vocabulary() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace data

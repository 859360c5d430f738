// SPDX-License-Identifier: Apache-2.0
#pragma once
// From token shards to training samples. The order of samples is a function of (seed, global index): it depends neither on
// ranks nor on restarts. A sample holds sequence + 1 tokens, so that every position has an input and a target.
//
// The source of global sample g is drawn by weight; within a source, samples follow in epochs. An epoch is all training
// documents in shuffled order, each closed by eos, some rewritten for fill-in-the-middle, as one stream; samples are its pieces
// of sequence + 1 tokens at stride sequence, again in shuffled order. So an epoch covers each target once, except for fewer
// than sequence tokens at its end. Memory: 8 bytes a document of the sources that are read.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/tokenizer.hpp"

namespace data {

struct Sample {
  std::vector<Token> tokens; // sequence + 1
  std::vector<std::int32_t>
      segments; // starts of mutually visible runs within tokens; first 0; one entry unless documents are masked. May end
                // with `sequence`: then the last target belongs to the next document
  std::int32_t source = 0; // index into the deck's sources
};

// Where the reading stands: everything that a checkpoint needs. Global, not per rank.
struct Cursor {
  std::int64_t next_sample = 0;             // global index of the next sample
  std::vector<std::int64_t> source_samples; // samples drawn from each source so far
  bool operator==(const Cursor &) const = default;
};

struct SamplerOptions {
  std::filesystem::path directory; // of `hadal data build`
  std::uint64_t seed = 0;
  std::int64_t sequence = 256;
  bool mask_documents = false; // documents of a sample invisible to each other
  double fim_rate = 0.0;       // share of documents rewritten as prefix, suffix, middle (PSM)
  std::vector<double> weights; // per source; empty: the manifest's weights
};

class Sampler {
public:
  // Errors E119 to E123 (missing or damaged data, other tokenizer), E124 (too little text), E125 (weights), E127 (no FIM tokens).
  explicit Sampler(const SamplerOptions &options);
  Sampler(Sampler &&) noexcept;
  ~Sampler();

  // The next count samples; advances the cursor. Samples repeat only after a whole epoch of their source. Thread-safe for
  // different cursors. Error E126: the cursor is that of other data.
  std::vector<Sample> next(Cursor &cursor, std::int64_t count) const;
  void skip(Cursor &cursor, std::int64_t count) const; // as next, without reading
  Cursor start() const;
  std::vector<double>
  epochs(const Cursor &cursor) const; // of each source, how often its text has been read by then

  std::int64_t validation_samples() const;
  Sample
  validation(std::int64_t index) const; // never shuffled, no FIM; covers the validation text once
  std::int64_t
  validation_bytes() const; // UTF-8 bytes of the targets covered (eos counts 0), for bits per byte
  std::int64_t validation_bytes(std::int64_t samples) const; // of the first samples only
  std::int64_t validation_tokens() const; // targets that the validation samples cover

  std::int64_t tokens(int source) const; // training tokens in one epoch of a source
  const std::vector<std::string> &source_names() const;
  std::string tokenizer_hash() const;
  std::string content_hash() const; // of tokenizer and shards: equal hashes, equal samples
  const Tokenizer &tokenizer() const;
  int vocabulary() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace data

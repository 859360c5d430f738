// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a training reads: samples in an order that is a function of (seed, global index), and what belongs to them. Token shards
// (sampler.hpp) and conversations are two kinds of it.
#include <cstdint>
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
  std::vector<std::uint8_t>
      trained;            // of each token: does its loss count where it is a target? Empty: all do
  std::int32_t pairs = 0; // of chosen and rejected answers (PairSampler); 0: none
  // Of each token, where answers were sampled and rewarded: log-probabilities when sampled and under the reference, advantage, weight.
  std::vector<float> old_logp, ref_logp, advantage, weight;
  // The same where a teacher is followed: its most likely tokens and their log-probabilities, equally many of each token.
  std::vector<std::int32_t> teacher_ids;
  std::vector<float> teacher_logp;
  bool operator==(const Sample &) const = default;
};

// Where the reading stands: everything that a checkpoint needs. Global, not per rank.
struct Cursor {
  std::int64_t next_sample = 0;             // global index of the next sample
  std::vector<std::int64_t> source_samples; // samples drawn from each source so far
  bool operator==(const Cursor &) const = default;
};

// skip() moves the cursor as next() does, without reading.
class SampleSource {
public:
  virtual ~SampleSource() = default;
  // The next count samples; advances the cursor. Samples repeat only after a whole epoch of their source. Thread-safe for
  // different cursors. Error E126: the cursor is that of other data.
  virtual std::vector<Sample> next(Cursor &cursor, std::int64_t count) const = 0;
  virtual void skip(Cursor &cursor, std::int64_t count) const = 0;
};

class Samples : public SampleSource {
public:
  virtual Cursor start() const = 0;
  // Of each source, how often its text has been read by then.
  virtual std::vector<double> epochs(const Cursor &cursor) const = 0;
  // Held-out samples; in a fixed order, each text once.
  virtual std::int64_t validation_samples() const = 0;
  virtual Sample validation(std::int64_t index) const = 0;
  // UTF-8 bytes of the first samples' counted targets (tokens without text count 0), for bits per byte.
  virtual std::int64_t validation_bytes(std::int64_t samples) const = 0;

  virtual std::int64_t tokens(int source) const = 0; // in one epoch of a source
  virtual const std::vector<std::string> &source_names() const = 0;
  virtual std::string tokenizer_hash() const = 0;
  virtual std::string content_hash() const = 0; // equal hashes, equal samples
  virtual const Tokenizer &tokenizer() const = 0;
  virtual int vocabulary() const = 0;
};

} // namespace data

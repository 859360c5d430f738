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

#include "data/samples.hpp"

namespace data {

struct SamplerOptions {
  std::filesystem::path directory; // of `hadal data build`
  std::uint64_t seed = 0;
  std::int64_t sequence = 256;
  bool mask_documents = false; // documents of a sample invisible to each other
  double fim_rate = 0.0;       // share of documents rewritten as prefix, suffix, middle (PSM)
  std::vector<double> weights; // per source; empty: the manifest's weights
};

class Sampler : public Samples {
public:
  // Errors E119 to E123 (missing or damaged data, other tokenizer), E124 (too little text), E125 (weights), E127 (no FIM tokens).
  explicit Sampler(const SamplerOptions &options);
  Sampler(Sampler &&) noexcept;
  ~Sampler() override;

  std::vector<Sample> next(Cursor &cursor, std::int64_t count) const override;
  void skip(Cursor &cursor, std::int64_t count) const override;
  Cursor start() const override;
  std::vector<double> epochs(const Cursor &cursor) const override;
  std::int64_t validation_samples() const override;
  Sample validation(std::int64_t index) const override;
  std::int64_t
  validation_bytes() const; // UTF-8 bytes of the targets covered (eos counts 0), for bits per byte
  std::int64_t validation_bytes(std::int64_t samples) const override;
  std::int64_t validation_tokens() const; // targets that the validation samples cover
  std::int64_t tokens(int source) const override;
  const std::vector<std::string> &source_names() const override;
  std::string tokenizer_hash() const override;
  std::string content_hash() const override;
  const Tokenizer &tokenizer() const override;
  int vocabulary() const override;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace data

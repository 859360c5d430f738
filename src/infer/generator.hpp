// SPDX-License-Identifier: Apache-2.0
#pragma once
// One sequence, piece by piece (many at once: engine.hpp). Rows that meet an empty cache have the bits of the trainer's forward pass; rows
// that follow others use the absorbed form, or with Attention::exact the trainer's arithmetic too.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "data/tokenizer.hpp"
#include "infer/forward.hpp"
#include "model/stage.hpp"

namespace infer {

struct SamplingOptions {
  double temperature = 0.8; // 0: the most probable token
  double top_p = 0.95;
  std::uint64_t seed = 0;
  std::int64_t max_tokens = 200;
  bool stop_at_eos = true;
};

// One sequence. A = float or bf16 (the compute dtype).
template <class A> class Generator {
public:
  // Long inputs are taken in pieces of so many rows at most.
  static constexpr tensor::Index kRows = 4096;
  // capacity: tokens that the cache holds.
  Generator(const arch::Dims &dims, model::Weights<A> weights, tensor::Index capacity,
            tensor::Index rows = kRows, Attention attention = Attention::absorbed);
  ~Generator();
  // Appends tokens (one at least) to the sequence and returns the logits behind the last of them [W] (FP32, on the host).
  // Errors E260 (capacity exceeded), E261 (token outside the vocabulary); the sequence is then as it was before.
  const std::vector<float> &append(tensor::Context &ctx, const std::vector<data::Token> &tokens);
  void reset();
  tensor::Index length() const;
  tensor::Index capacity() const;
  std::size_t cache_bytes() const; // of the whole capacity, in whole pages

  // Arena bytes that append needs at most.
  static std::size_t arena_bytes(const arch::Dims &dims, tensor::Index capacity,
                                 tensor::Index rows = kRows);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Error E261: a token outside the vocabulary.
void check_tokens(std::span<const data::Token> tokens, tensor::Index vocabulary, const char *where);

// Token from logits: temperature, then top-p (the fewest most probable tokens whose probabilities add up to top_p at least), by inverse
// cumulative sum on a number of (seed, stream, position). Rows at and beyond `vocabulary` have no token and are never chosen. Ties go to the
// lower id. Error E262: the logits are not finite.
data::Token sample(std::span<const float> logits, const SamplingOptions &options,
                   std::int64_t position, int vocabulary, std::uint64_t stream = 0);

// Keeps bytes back until they are whole UTF-8 characters. What cannot become one is replaced by U+FFFD, one for each longest piece
// that could have begun a character (Unicode 15, section 3.9, table 3-8); what comes out is valid UTF-8 always.
class Utf8Stream {
public:
  std::string push(std::string_view bytes); // what may be printed now
  std::string rest(); // what is left of a character that never ended; empties the stream

private:
  std::string held_;
};

} // namespace infer

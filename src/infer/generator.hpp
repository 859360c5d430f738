// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decoding with a latent cache: per token and layer the normalised latent (C) and the rotated key (R) are kept, nothing else. Attention
// is absorbed (facts of section 2.4):
//   q~ = q_nope w_uk (C);  s_j = scale * ( q~.c_j + q_rope.k_rope_j );  o~ = sum_j p_j c_j;  o = w_uv o~
// The layers' forward kernels are the trainer's; only the attention core differs. Experts' loads are never counted.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "data/tokenizer.hpp"
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
  // capacity: tokens that the cache holds.
  Generator(const arch::Dims &dims, model::Weights<A> weights, tensor::Index capacity);
  ~Generator();
  // Appends tokens to the sequence and returns the logits behind the last of them [W] (FP32, on the host).
  // Errors E260 (capacity exceeded), E261 (token outside the vocabulary).
  const std::vector<float> &append(tensor::Context &ctx, const std::vector<data::Token> &tokens);
  void reset();
  tensor::Index length() const;
  std::size_t cache_bytes() const;

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Token from logits: temperature, then top-p, by inverse cumulative sum on a number of (seed, position). Rows at and beyond
// `vocabulary` have no token and are never chosen. Ties go to the lower id.
data::Token sample(const std::vector<float> &logits, const SamplingOptions &options, std::int64_t position, int vocabulary);

// Keeps bytes back until they are whole UTF-8 characters.
class Utf8Stream {
public:
  std::string push(std::string_view bytes); // what may be printed now
  std::string rest();                       // what is left, invalid bytes replaced by U+FFFD

private:
  std::string held_;
};

} // namespace infer

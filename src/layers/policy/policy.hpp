// SPDX-License-Identifier: Apache-2.0
#pragma once
// Group-relative policy optimisation: what a sampled answer's advantage asks of each of its rows. The head makes loss[t] = -logp[t], this
// layer dL/dloss[t], the head's backward pass the rest. A visible segment holds at most one answer o; its rows with a target are the
// answer's tokens (prompt and padding have none).
//   L = -J,  J = sum of weight * ( min( r A, clip(r, 1 - clip_low, 1 + clip_high) A ) - beta k )
// Ratio::token (DeepSeekMath), for each row t of each answer:
//   (1) r[t] = exp( logp[t] - old[t] )   (2) k[t] = exp( ref[t] - logp[t] ) - ( ref[t] - logp[t] ) - 1
// Ratio::sequence (DeepSeek-V3), once for each answer, over whole answers as the report writes it:
//   (1) r = exp( sum_t ( logp[t] - old[t] ) )   (2) k = exp( R ) - R - 1,  R = sum_t ( ref[t] - logp[t] )
// Reverse, since d loss = -d logp and dr/dlogp = r, for a row (token) or for every row of the answer (sequence):
//   (3) dL/dloss = weight * ( [r A is the smaller, or equal] r A - beta ( 1 - exp( R ) ) )
// Exponents stay within kMostExponent of 0: beyond it r, k's exponential and their slopes stand still at the border, finite.
//
// weight is the caller's: 1 / (G |o|) by row for GRPO by tokens, 1 / G for its sequence form, 1 / all tokens for DAPO, 1 / (G constant)
// for Dr. GRPO. Advantage and weight of an answer's sequence form are those of its first row that counts; the token form takes each row's
// (process rewards). Sums are made in row order, in double, one thread a segment.
#include "layers/types.hpp"

namespace layers::policy {

enum class Ratio { sequence, token };

struct Options {
  Ratio ratio = Ratio::sequence;
  double clip_low = 0.2, clip_high = 0.2;
  double beta = 0; // 0: ref is not read
};

inline constexpr double kMostExponent = 20;

struct Inputs {
  Vec<const float> loss_T;       // of the policy as it is now
  Vec<const float> old_T, ref_T; // log-probabilities; ref may be empty when beta is 0
  Vec<const float> advantage_T, weight_T;
  Vec<const std::int32_t> target_T; // < 0: does not count
  Vec<const float> entropy_T;       // may be empty: told as 0
};

// Columns of the sums of a segment. A term is what has a ratio: a row or an answer.
enum Sum {
  objective, // of J, weight included
  terms,
  ratio,   // sum of r over the terms
  clipped, // terms whose gradient the clip has taken away
  kl,      // sum of k over the terms, 0 when beta is 0 and there is no ref
  entropy, // over the rows
  tokens,
  answers,
  apart, // greatest |logp - old| of a row: 0 where rollout and trainer compute the same
  kSums
};

// scale_T = scale * (3), 0 where target < 0; sum_SX [segments, kSums].
void coefficients(Context &ctx, const Options &options, const Segments &segments, const Inputs &in,
                  double scale, Vec<float> scale_T, Mat<double> sum_SX);

} // namespace layers::policy

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The dimensions and choices of a model. The legend of letters holds for the whole program (docs/words.md):
//   T tokens (packed)   D model             L layers            W vocabulary
//   H heads             N no-rope head dim  R rope head dim     V value head dim
//   C latent KV rank    Q latent query rank (0: queries are not compressed)
//   F expert hidden     E routed experts    K chosen experts    A arrivals (token copies routed here; A = T K on one rank)
//   G expert groups     S shared experts
// Capitals are logical sizes, lower case this rank's share. Numbers in the defaults: DeepSeek-V3 (arXiv 2412.19437).
#include <cstdint>
#include <string>

namespace arch {

using Index = std::int64_t;

// Limits of the router's kernels: a token's choice is made in fixed-size local memory.
inline constexpr Index kMostExperts = 512, kMostChosen = 16;

enum class Score { sigmoid, softmax };
// How a group of experts is scored: sum of its two highest biased scores (V3) or its highest score (V2).
enum class GroupScore { top2_sum, maximum };
// Which hidden state feeds hnorm of an MTP module: after or before the main model's final norm (unpublished; docs/model.md).
enum class MtpHidden { post_norm, pre_norm };
// What reads the final hidden state beside the language head: nothing, or a row of weights that gives an answer's reward too.
enum class Head { language, reward };

// YaRN (arXiv 2309.00071) as DeepSeek applies it; factor 1 switches it off.
struct Yarn {
  double factor = 1.0;
  Index original = 4096; // context length the frequencies were trained with
  double beta_fast = 32.0, beta_slow = 1.0;
  double mscale = 1.0, mscale_all_dim = 1.0;
  bool on() const { return factor > 1.0; }
};

struct Dims {
  Index vocabulary = 129280; // W
  Index model = 7168;        // D
  Index layers = 61;         // L, main model
  Index dense_layers = 3;    // leading layers with a dense FFN
  Index dense_hidden = 18432;
  double norm_eps = 1e-6;
  double init_std = 0.006; // report p. 22

  Index heads = 128;                        // H
  Index q_rank = 1536;                      // Q
  Index kv_rank = 512;                      // C
  Index nope = 128, rope = 64, value = 128; // N, R, V
  double rope_theta = 10000.0;
  Yarn yarn;

  Index experts = 256;        // E
  Index chosen = 8;           // K
  Index expert_hidden = 2048; // F
  Index shared = 1;           // S; one FFN of hidden S F
  Index groups = 8, chosen_groups = 4;
  Score score = Score::sigmoid;
  GroupScore group_score = GroupScore::top2_sum;
  bool router_bias = true; // auxiliary-loss-free balancing
  bool normalise = true;   // weights of the chosen experts sum to 1 before scaling
  double route_scale = 2.5;

  Index mtp_depth = 0; // MTP modules (0..2)
  MtpHidden mtp_hidden = MtpHidden::post_norm;
  Head head = Head::language;

  bool moe() const { return layers > dense_layers; }
  // MTP modules (layer >= layers) are mixtures too.
  bool is_dense(Index layer) const { return layer < dense_layers; }
  Index head_dim() const { return nope + rope; }
  // Softmax scale: head_dim^-1/2, times m^2 with m = 0.1 mscale_all_dim ln(factor) + 1 under YaRN.
  double softmax_scale() const;
};

// Whether YaRN acts is a property of the deck (factor > 1), not of the sequence length.

} // namespace arch

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck tables of the model: [model], [model.attention], [model.router], [model.rope], [mtp]. Each key is declared
// here, once, and lands in a field of Dims. Other rooms may declare further keys of the same tables (training weights
// of the MTP loss, for example) in structs of their own.
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arch/dims.hpp"
#include "deck/deck.hpp"

namespace arch {

struct ModelOptions {
  Dims &dims;
  template <class R> void keys(R &r) {
    r.key(dims.vocabulary, "vocabulary", 129280, 2, 1 << 24, "tokens",
          "rows of the embedding and of the head (W)");
    r.key(dims.model, "dim", 7168, 1, 1 << 17, "numbers", "width of the residual stream (D)");
    r.key(dims.layers, "layers", 61, 1, 1024, "layers", "layers of the main model (L)");
    r.key(dims.dense_layers, "dense_layers", 3, 0, 1024, "layers",
          "leading layers with a dense feed-forward network; the others are mixtures of experts");
    r.key(dims.dense_hidden, "dense_hidden", 18432, 1, 1 << 18, "numbers",
          "hidden width of a dense feed-forward network");
    r.key(dims.expert_hidden, "expert_hidden", 2048, 1, 1 << 18, "numbers",
          "hidden width of one expert (F)");
    r.key(dims.shared, "shared_experts", 1, 0, 64, "experts",
          "experts that every token uses; together one network of hidden width S F (S)");
    r.key(dims.norm_eps, "norm_eps", 1e-6, 1e-12, 1e-2, "",
          "added to the mean square in every RMSNorm");
    r.key(dims.init_std, "init_std", 0.006, 0.0, 1.0, "",
          "standard deviation of the initial matrices; norms start at 1");
    r.choice(dims.head, "head", Head::language,
             {{"language", Head::language}, {"reward", Head::reward}},
             "reward: a row of weights more, which gives an answer's reward");
  }
};

struct AttentionOptions {
  Dims &dims;
  template <class R> void keys(R &r) {
    r.key(dims.heads, "heads", 128, 1, 4096, "heads", "attention heads (H)");
    r.key(dims.q_rank, "q_rank", 1536, 0, 1 << 16, "numbers",
          "width of the query latent (Q); 0: queries are not compressed");
    r.key(dims.kv_rank, "kv_rank", 512, 1, 1 << 16, "numbers",
          "width of the cached key-value latent (C)");
    r.key(dims.nope, "nope_dim", 128, 1, 1024, "numbers",
          "part of a head's query and key without rotation (N)");
    r.key(dims.rope, "rope_dim", 64, 2, 1024, "numbers",
          "rotated part of a head's query and key, even (R)");
    r.key(dims.value, "value_dim", 128, 1, 1024, "numbers", "a head's value (V)");
  }
};

struct RouterOptions {
  Dims &dims;
  template <class R> void keys(R &r) {
    r.key(dims.experts, "experts", 256, 1, kMostExperts, "experts", "routed experts (E)");
    r.key(dims.chosen, "chosen", 8, 1, kMostChosen, "experts",
          "routed experts that a token uses (K)");
    r.key(dims.groups, "groups", 8, 1, kMostExperts, "groups",
          "groups of consecutive experts (G); 1: no group limit");
    r.key(dims.chosen_groups, "chosen_groups", 4, 1, kMostExperts, "groups",
          "groups from which a token's experts come");
    r.choice(dims.score, "score", Score::sigmoid,
             {{"sigmoid", Score::sigmoid}, {"softmax", Score::softmax}},
             "how a logit becomes an affinity");
    r.choice(dims.group_score, "group_score", GroupScore::top2_sum,
             {{"top2_sum", GroupScore::top2_sum}, {"maximum", GroupScore::maximum}},
             "what ranks a group: its two highest biased scores added (V3), or its highest (V2)");
    r.key(dims.router_bias, "bias", true,
          "a bias per expert, moved after each step, takes part in the choice only");
    r.key(dims.normalise, "normalise", true,
          "weights of the chosen experts are divided by their sum");
    r.key(dims.route_scale, "scale", 2.5, 1e-6, 1e6, "",
          "factor on the weights of the chosen experts, after normalising");
  }
};

struct RopeOptions {
  Dims &dims;
  template <class R> void keys(R &r) {
    r.key(dims.rope_theta, "theta", 10000.0, 1.0, 1e12, "", "base of the rotation frequencies");
    r.key(dims.yarn.factor, "factor", 1.0, 1.0, 4096.0, "",
          "YaRN: context is stretched by this; 1 switches YaRN off");
    r.key(dims.yarn.original, "original", 4096, 1, 1 << 24, "tokens",
          "YaRN: context of the unstretched frequencies");
    r.key(dims.yarn.beta_fast, "beta_fast", 32.0, 1e-3, 1e6, "rotations",
          "YaRN: pairs that turn more often than this within the original context keep their "
          "frequency");
    r.key(dims.yarn.beta_slow, "beta_slow", 1.0, 1e-3, 1e6, "rotations",
          "YaRN: pairs that turn less often than this are slowed by the whole factor");
    r.key(dims.yarn.mscale, "mscale", 1.0, 0.0, 100.0, "",
          "YaRN: weight of ln(factor) in the length of the rotated part");
    r.key(dims.yarn.mscale_all_dim, "mscale_all_dim", 1.0, 0.0, 100.0, "",
          "YaRN: weight of ln(factor) in the softmax scale");
  }
};

struct MtpOptions {
  Dims &dims;
  template <class R> void keys(R &r) {
    r.key(dims.mtp_depth, "depth", 0, 0, 2, "modules",
          "multi-token prediction modules behind the main model");
    r.choice(
        dims.mtp_hidden, "hidden", MtpHidden::post_norm,
        {{"post_norm", MtpHidden::post_norm}, {"pre_norm", MtpHidden::pre_norm}},
        "which hidden state feeds the first module: after or before the main model's final norm");
  }
};

// Reads the five tables and checks them against each other (E040..). Complains with file:line. Leaves other tables alone.
Dims read_dims(deck::Deck &deck);

// The five tables as deck text: read_dims gives the same dims.
std::string deck_text(const Dims &dims);

// A contradiction between dims that are each within range: the deck key to blame and what is allowed.
struct Contradiction {
  std::string table, key, number, advice;
};
std::optional<Contradiction> contradiction(const Dims &dims);

// The declared keys by table, for docs/decks.md.
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace arch

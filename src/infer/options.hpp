// SPDX-License-Identifier: Apache-2.0
#pragma once
// The table [infer] of decks that generate.
#include "deck/deck.hpp"
#include "infer/engine.hpp"

namespace infer {

struct EngineTable {
  Attention attention = Attention::exact;
  bool keep_keys = false;
  std::int64_t batch = 0, rows = 0, cache = 0, sequence = 0;
  template <class R> void keys(R &r) {
    r.choice(attention, "attention", Attention::exact,
             {{"exact", Attention::exact}, {"absorbed", Attention::absorbed}},
             "exact: the arithmetic of training, bit for bit; absorbed: faster behind long texts, "
             "log-probabilities within 1e-4 of it (docs/generate.md)");
    r.key(batch, "batch", 64, 1, 1 << 16, "sequences", "sequences that speak at once");
    r.key(rows, "rows", 512, 1, 1 << 20, "tokens",
          "tokens in one pass through the model: one for each sequence that speaks, the others for "
          "prompts; at least batch");
    r.key(cache, "cache", 65536, 64, std::int64_t{1} << 40, "tokens",
          "tokens that the latent cache holds, of all sequences together; rounded up to pages of "
          "64");
    r.key(keep_keys, "keep_keys", false,
          "keep keys and values beside the latents: exact steps are faster, the cache is larger by "
          "heads x (nope_dim + value_dim) numbers a token and layer");
    r.key(sequence, "sequence", 0, 0, 1 << 24, "tokens",
          "longest sequence, prompt and answer; 0: as many tokens as the cache holds");
  }
};

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

// Error E268 at infer.rows: fewer rows than sequences. vocabulary: ids of the tokenizer.
EngineOptions engine_options(const deck::Deck &deck, const EngineTable &table, int vocabulary);

} // namespace infer

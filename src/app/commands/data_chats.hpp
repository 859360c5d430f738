// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decks of conversations ([sft]) and of pairs ([pairs]) for the data commands (docs/sft.md).
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/packed_sampler.hpp"

namespace app {

struct Chats {
  std::unique_ptr<data::PackedSampler> sampler;
  std::int64_t planned_samples = 0; // that the deck's steps read
};

// Is place a deck with one of the tables?
bool is_chat_deck(const std::string &place, const std::vector<std::string> &overrides);
// Reads its conversations. sequence 0: the deck's.
Chats open_chats(const std::string &deck, const std::vector<std::string> &overrides,
                 std::int64_t sequence = 0);
// A tokenizer.json, a folder that holds one, a checkpoint, or a run with checkpoints.
data::Tokenizer tokenizer_at(const std::string &place);

} // namespace app

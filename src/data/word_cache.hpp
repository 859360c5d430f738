// SPDX-License-Identifier: Apache-2.0
#pragma once
// What short pieces encode to: one bounded table per thread (2 MiB), direct-mapped; a newcomer
// replaces what was in its slot. A table belongs to one tokenizer at a time, known by its number;
// another one empties it.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "data/tokenizer.hpp"

namespace data {

class WordCache {
public:
  static constexpr std::size_t kMaxBytes = 23, kMaxTokens = 8;
  struct alignas(64) Slot {
    std::uint64_t
        words[3]; // the piece, padded with zeros; its length in the last byte; length 0: empty
    std::uint32_t count;
    Token tokens[kMaxTokens];
  };

  // The calling thread's cache, emptied when it last served another tokenizer.
  static WordCache &of(std::uint64_t owner) {
    static thread_local WordCache cache;
    if (cache.owner_ != owner) {
      cache.slots_.assign(kSlots, Slot{});
      cache.owner_ = owner;
    }
    return cache;
  }

  // The slot where a piece of 1 to kMaxBytes bytes has its place; hit: it holds the piece's tokens.
  Slot &find(std::string_view piece, bool &hit) {
    std::uint64_t words[3];
    pack(piece, words);
    const std::uint64_t mixed = (words[0] * 0x9E3779B97F4A7C15ULL) ^
                                (words[1] * 0xC2B2AE3D27D4EB4FULL) ^
                                (words[2] * 0x165667B19E3779F9ULL);
    Slot &slot = slots_[(mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9ULL >> (64 - kBits)];
    hit = slot.words[0] == words[0] && slot.words[1] == words[1] && slot.words[2] == words[2];
    return slot;
  }

  // Puts the piece in its slot, unless it has too many tokens.
  static void store(Slot &slot, std::string_view piece, std::span<const Token> tokens) {
    if (tokens.size() > kMaxTokens) return;
    pack(piece, slot.words);
    slot.count = static_cast<std::uint32_t>(tokens.size());
    std::copy(tokens.begin(), tokens.end(), slot.tokens);
  }

private:
  static void pack(std::string_view piece, std::uint64_t (&words)[3]) {
    words[0] = words[1] = words[2] = 0;
    std::memcpy(words, piece.data(), piece.size());
    words[2] |= static_cast<std::uint64_t>(piece.size()) << 56;
  }
  static constexpr int kBits = 15;
  static constexpr std::size_t kSlots = std::size_t{1} << kBits;
  std::uint64_t owner_ = 0; // none
  std::vector<Slot> slots_;
};

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Byte pair encoding of one piece: begin with single bytes; merge the adjacent pair of lowest rank,
// the leftmost first, until no pair has a rank. Short pieces by repeated search, long ones by a
// heap, so that a long run of one letter stays cheap.
#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "data/tokenizer.hpp"

namespace data {

// (left, right) -> (rank, merged id); open addressing, immutable once filled.
class MergeTable {
public:
  struct Merge {
    std::uint32_t rank; // kNone: the pair is not merged
    Token merged;
  };
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;

  explicit MergeTable(std::size_t pairs);
  bool insert(Token left, Token right, Merge merge); // false: the pair is there already
  Merge find(Token left, Token right) const {
    const std::uint64_t key = key_of(left, right);
    for (std::size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
      if (slots_[slot].key == key) return slots_[slot].merge;
      if (slots_[slot].key == kFree) return {kNone, 0};
    }
  }

private:
  struct Slot {
    std::uint64_t key;
    Merge merge;
  };
  static constexpr std::uint64_t kFree = ~0ULL; // ids are not negative
  static std::uint64_t key_of(Token left, Token right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    return (key * 0x9E3779B97F4A7C15ULL >> 32) & mask_;
  }
  std::size_t mask_;
  std::vector<Slot> slots_;
};

class Bpe {
public:
  // merges: pairs in order of rank with the id that they become. Pairs must differ.
  struct Rule {
    Token left, right, merged;
  };
  Bpe(const std::array<Token, 256> &byte_ids, std::span<const Rule> rules);
  void encode(std::string_view piece, std::vector<Token> &out) const; // appends
  Token byte_id(unsigned char byte) const { return byte_ids_[byte]; }

private:
  void encode_short(std::string_view piece, std::vector<Token> &out) const;
  void encode_long(std::string_view piece, std::vector<Token> &out) const;
  std::array<Token, 256> byte_ids_;
  MergeTable merges_;
};

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "data/bpe.hpp"

#include <algorithm>
#include <bit>
#include <queue>

#include "base/error.hpp"

namespace data {

namespace {

constexpr std::size_t kShort = 80; // bytes up to which repeated search beats the heap

} // namespace

MergeTable::MergeTable(std::size_t pairs)
    : mask_(std::bit_ceil(2 * pairs + 2) - 1), slots_(mask_ + 1, Slot{kFree, {kNone, 0}}) {}

bool MergeTable::insert(Token left, Token right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  std::size_t slot = slot_of(key);
  while (slots_[slot].key != kFree) {
    if (slots_[slot].key == key) return false;
    slot = (slot + 1) & mask_;
  }
  slots_[slot] = {key, merge};
  return true;
}

Bpe::Bpe(const std::array<Token, 256> &byte_ids, std::span<const Rule> rules)
    : byte_ids_(byte_ids), merges_(rules.size()) {
  std::uint32_t rank = 0;
  for (const Rule &rule : rules) {
    const bool is_new = merges_.insert(rule.left, rule.right, {rank++, rule.merged});
    HADAL_CHECK(is_new, "merge of {} and {} stands twice", rule.left, rule.right);
  }
}

void Bpe::encode(std::string_view piece, std::vector<Token> &out) const {
  if (piece.size() == 1) {
    out.push_back(byte_ids_[static_cast<unsigned char>(piece[0])]);
  } else if (piece.size() <= kShort) {
    encode_short(piece, out);
  } else {
    encode_long(piece, out);
  }
}

void Bpe::encode_short(std::string_view piece, std::vector<Token> &out) const {
  Token ids[kShort];
  MergeTable::Merge pairs[kShort]; // pairs[i] joins ids[i] and ids[i + 1]
  std::size_t count = piece.size();
  for (std::size_t i = 0; i < count; ++i) ids[i] = byte_ids_[static_cast<unsigned char>(piece[i])];
  for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = merges_.find(ids[i], ids[i + 1]);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (pairs[i].rank < pairs[best].rank) best = i;
    }
    if (pairs[best].rank == MergeTable::kNone) break;
    ids[best] = pairs[best].merged;
    std::copy(ids + best + 2, ids + count, ids + best + 1);
    if (best + 2 < count) std::copy(pairs + best + 2, pairs + count - 1, pairs + best + 1);
    --count;
    if (best > 0) pairs[best - 1] = merges_.find(ids[best - 1], ids[best]);
    if (best + 1 < count) pairs[best] = merges_.find(ids[best], ids[best + 1]);
  }
  out.insert(out.end(), ids, ids + count);
}

void Bpe::encode_long(std::string_view piece, std::vector<Token> &out) const {
  struct Symbol {
    Token id;
    std::int64_t previous, next; // -1: none
    MergeTable::Merge with_next; // rank kNone: nothing to merge, or swallowed by a merge
  };
  const auto size = static_cast<std::int64_t>(piece.size());
  std::vector<Symbol> symbols(piece.size());
  const auto at = [&symbols](std::int64_t i) -> Symbol & {
    return symbols[static_cast<std::size_t>(i)];
  };
  for (std::int64_t i = 0; i < size; ++i) {
    const Token id = byte_ids_[static_cast<unsigned char>(piece[static_cast<std::size_t>(i)])];
    at(i) = {id, i - 1, i + 1 < size ? i + 1 : -1, {MergeTable::kNone, 0}};
  }
  // An entry is rank and position in one number, so that the smallest is the leftmost of the lowest
  // rank. An entry whose rank is no longer its symbol's is stale: ranks are unique to pairs.
  using Entry = std::uint64_t;
  std::vector<Entry> entries;
  const auto look_up = [&](std::int64_t i) {
    Symbol &s = at(i);
    s.with_next =
        s.next < 0 ? MergeTable::Merge{MergeTable::kNone, 0} : merges_.find(s.id, at(s.next).id);
    return s.with_next.rank != MergeTable::kNone;
  };
  const auto entry_of = [&](std::int64_t i) {
    return static_cast<Entry>(at(i).with_next.rank) << 32 | static_cast<Entry>(i);
  };
  for (std::int64_t i = 0; i < size; ++i) {
    if (look_up(i)) entries.push_back(entry_of(i));
  }
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> heap(std::greater<>{},
                                                                      std::move(entries));
  while (!heap.empty()) {
    const Entry top = heap.top();
    heap.pop();
    const auto i = static_cast<std::int64_t>(top & 0xFFFFFFFF);
    Symbol &left = at(i);
    if (left.with_next.rank != top >> 32 || left.with_next.rank == MergeTable::kNone) continue;
    Symbol &right = at(left.next);
    left.id = left.with_next.merged;
    left.next = right.next;
    right.with_next.rank = MergeTable::kNone;
    right.id = -1;
    if (left.next >= 0) at(left.next).previous = i;
    if (look_up(i)) heap.push(entry_of(i));
    if (left.previous >= 0 && look_up(left.previous)) heap.push(entry_of(left.previous));
  }
  for (std::int64_t i = 0; i >= 0; i = at(i).next) out.push_back(at(i).id);
}

} // namespace data

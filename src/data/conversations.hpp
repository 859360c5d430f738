// SPDX-License-Identifier: Apache-2.0
#pragma once
// From JSONL files to encoded conversations in memory. An item is what stays whole in a sample: a conversation, or a pair of them
// with the same question and two answers. Memory: 4 bytes a token (with its mark) and 12 bytes a conversation.
#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "data/conversation_options.hpp"
#include "data/samples.hpp"

namespace data {

class Items {
public:
  explicit Items(int segments = 1) : segments_(segments) {} // of each item
  void add(const std::vector<chat::Encoded> &item);
  std::int64_t size() const { return static_cast<std::int64_t>(lengths_.size()); }
  const std::vector<std::int32_t> &lengths() const { return lengths_; } // tokens of each item
  std::int64_t trained(std::int64_t item) const;
  // Appends an item's tokens, marks and segment starts.
  void append_to(Sample &sample, std::int64_t item) const;
  void digest(base::Digest128 &hash) const;

private:
  int segments_;
  std::vector<std::uint32_t> tokens_;  // the highest bit is the mark
  std::vector<std::int64_t> first_{0}; // of each segment, and the end
  std::vector<std::int32_t> lengths_;
};

// What became of a source's lines. A conversation is an item here: a pair too.
struct SourceReport {
  std::string name;
  std::int64_t repeat = 1;
  std::int64_t files = 0, lines = 0;
  std::int64_t bad = 0;                   // lines that cannot be used, skipped
  std::int64_t over_long = 0;             // conversations longer than a sample
  std::int64_t dropped = 0;               // of these, left out as a whole
  std::int64_t pieces = 0;                // of those that were cut, the pieces
  std::int64_t dropped_turns = 0;         // a user's turn with its answers, too long for a piece
  std::int64_t train = 0, validation = 0; // items; those of the sources stand in order
  std::vector<std::string> faults;        // the first few of the lines skipped
};

struct Conversations {
  Items train, validation;
  std::vector<std::int32_t> readings; // items of one epoch, those repeated several times
  std::vector<SourceReport> sources;
};

// capacity: tokens that an item may have. Errors E111 to E113 (files), E130 to E132, E135 (nothing to train
// on), E136 (a conversation without anything to train on), E137 (too long), E134 (no marker tokens).
Conversations load_conversations(const ChatOptions &options, const Tokenizer &tokenizer,
                                 std::int64_t capacity);
// The same of pairs: {"prompt" or "messages", "chosen", "rejected"}; E138 (not a pair).
Conversations load_pairs(const PairOptions &options, const Tokenizer &tokenizer,
                         std::int64_t capacity);

} // namespace data

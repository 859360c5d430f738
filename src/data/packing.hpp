// SPDX-License-Identifier: Apache-2.0
#pragma once
// The documents of one split, one behind the other as a stream of tokens, each closed by eos: in shuffled order with
// fill-in-the-middle for an epoch of training, in plain order for validation. Any piece of the stream can be read at once.
// Memory: 8 bytes a document.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.hpp"
#include "data/fim.hpp"
#include "data/shuffle.hpp"

namespace data {

struct PackingRules {
  Token eos = 0;
  double fim_rate = 0.0;
  FimMarks fim;
  // Of each token: does it begin with the first byte of a character? Needed where fim_rate > 0.
  std::vector<bool> begins_character;
};

// Error E127: fim_rate > 0, but the tokenizer has no FIM tokens. where: for the message.
PackingRules packing_rules(const Tokenizer &tokenizer, double fim_rate, const std::string &where);

class PackedStream {
public:
  PackedStream(const DocumentSet &documents, const PackingRules &rules); // plain order
  PackedStream(const DocumentSet &documents, const PackingRules &rules,
               const Reading &reading); // shuffled
  std::int64_t tokens() const { return starts_.back(); }
  // Copies tokens [first, first + count) and adds base + i to document_starts for every i < count where a document begins.
  void read(std::int64_t first, std::int64_t count, Token *out, std::int32_t base,
            std::vector<std::int32_t> &document_starts) const;

private:
  std::int64_t document_at(std::int64_t place) const;
  void layout();
  void copy_document(std::int64_t document, std::int64_t first, std::int64_t count,
                     Token *out) const;
  void copy_fim(std::int64_t document, std::int64_t length, std::int64_t first, std::int64_t count,
                Token *out) const;

  const DocumentSet &documents_;
  const PackingRules &rules_;
  Reading reading_;
  std::optional<Shuffle> order_;
  std::vector<std::int64_t> starts_; // in the stream, by place; one more than documents
};

// Tokens of an epoch's stream without laying it out.
std::int64_t stream_tokens(const DocumentSet &documents, const PackingRules &rules,
                           const Reading &reading);

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// From conversations in memory to samples (docs/sft.md). An epoch is all items in an order shuffled by (seed, epoch), packed into
// samples of sequence + 1 tokens, each item whole and a segment of its own; what stays free is a last segment of padding, of which no
// token counts. So the order of samples is a function of (seed, global index). An epoch's plan is laid out when its first sample is
// read, and the two last used are kept: 4 bytes an item each.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/conversations.hpp"
#include "data/samples.hpp"

namespace data {

// Is it one of the added tokens, which stand for no text of a message? (Not all of them are special: the chat's are not.)
bool is_marker(Token token, const Tokenizer &tokenizer);

// How full the samples of one epoch, or the held-out ones, are.
struct Fill {
  std::int64_t samples = 0, items = 0, tokens = 0, trained = 0;
  std::int64_t room = 0;   // tokens of the samples, padding included
  double padding() const { // share
    return room > 0 ? 1.0 - static_cast<double>(tokens) / static_cast<double>(room) : 0.0;
  }
};

// One source to the cursor: a sample may hold conversations of several files. source_names() has one name.
class PackedSampler : public Samples {
public:
  PackedSampler(PackedSampler &&) noexcept;
  ~PackedSampler() override;

  std::vector<Sample> next(Cursor &cursor, std::int64_t count) const override;
  void skip(Cursor &cursor, std::int64_t count) const override;
  Cursor start() const override;
  std::vector<double> epochs(const Cursor &cursor) const override;
  std::int64_t validation_samples() const override;
  Sample validation(std::int64_t index) const override;
  std::int64_t validation_bytes(std::int64_t samples) const override;
  std::int64_t tokens(int source) const override; // of the items, without padding
  const std::vector<std::string> &source_names() const override;
  std::string tokenizer_hash() const override;
  std::string content_hash() const override;
  const Tokenizer &tokenizer() const override;
  int vocabulary() const override;

  std::int64_t sequence() const;
  bool pairs() const; // segments 2i and 2i + 1 of a sample are the chosen and the rejected answer
  std::int64_t samples_of(std::int64_t epochs) const; // in the first so many epochs
  const Conversations &conversations() const;
  Fill fill(std::int64_t epoch) const;
  Fill validation_fill() const;
  // What was left out or skipped, a line each; none when all is used as it is. For the log.
  std::vector<std::string> remarks() const;

protected:
  struct Rules {
    const char *name = "";     // of the one source
    std::int64_t sequence = 0; // a sample has one token more
    std::int64_t capacity = 0; // tokens of a sample that items may take
    std::uint64_t seed = 0;
    bool packing = true, pairs = false;
  };
  PackedSampler(Conversations conversations, std::shared_ptr<const Tokenizer> tokenizer,
                const Rules &rules);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Conversations for fine-tuning: a token counts where the assistant wrote it (train_on). Errors: those of load_conversations.
class ChatSampler : public PackedSampler {
public:
  ChatSampler(const ChatOptions &options, std::shared_ptr<const Tokenizer> tokenizer,
              std::int64_t sequence, std::uint64_t seed);
};

// Pairs of answers for a reward model: a sample's segments are chosen and rejected in turn, Sample::pairs of each, then one of
// padding. The mark stands on the last token of an answer: the one at which the score is read. So a pair lies within the first
// `sequence` tokens, which are inputs; the sample's last token is padding always. Errors: those of load_pairs.
class PairSampler : public PackedSampler {
public:
  PairSampler(const PairOptions &options, std::shared_ptr<const Tokenizer> tokenizer,
              std::int64_t sequence, std::uint64_t seed);
};

} // namespace data

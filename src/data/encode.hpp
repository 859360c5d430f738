// SPDX-License-Identifier: Apache-2.0
#pragma once
// The documents of a source as tokens, in order: read in batches, encoded by several threads.
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "data/build.hpp"
#include "data/corpus.hpp"

namespace data {

struct EncodedDocument {
  std::vector<Token> tokens;
  std::int64_t text_bytes = 0;
  bool validation = false;
  // Where the corpus stood behind this document, and what it had skipped by then.
  Position after;
  Skipped skipped;
  std::uint64_t bytes_read = 0;
};

class EncodedStream {
public:
  EncodedStream(Corpus &corpus, const Tokenizer &tokenizer, const Options &options, int threads);
  const EncodedDocument *peek(); // the next document, or null at the end
  void pop() { ready_.pop_front(); }

private:
  void fill();
  void encode(const std::string &text, EncodedDocument &document) const;

  Corpus &corpus_;
  const Tokenizer &tokenizer_;
  NewlineSplitter splitter_;
  double validation_;
  int threads_;
  std::deque<EncodedDocument> ready_;
};

} // namespace data

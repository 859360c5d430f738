// SPDX-License-Identifier: Apache-2.0
#include "data/encode.hpp"

#include "base/random.hpp"
#include "data/parallel.hpp"

namespace data {
namespace {

constexpr std::size_t kBatchBytes = std::size_t{4} << 20; // of text, for each thread
constexpr std::size_t kBatchDocuments = 1 << 16;

} // namespace

bool held_out(const base::Hash128 &document, double share) {
  return static_cast<double>(document.high >> 11) * 0x1.0p-53 < share;
}

NewlineSplitter::NewlineSplitter(const Tokenizer &tokenizer, double rate, std::uint64_t seed)
    : rate_(rate), seed_(seed) {
  if (rate_ <= 0.0) return;
  for (Token id = 0; id < tokenizer.size(); ++id) parts_.push_back(tokenizer.split_newline(id));
}

void NewlineSplitter::apply(std::vector<Token> &tokens, const base::Hash128 &document) const {
  if (rate_ <= 0.0) return;
  std::vector<Token> out;
  out.reserve(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::vector<Token> &parts = parts_[static_cast<std::size_t>(tokens[i])];
    const bool split =
        !parts.empty() &&
        base::random::uniform(seed_, base::random::Purpose::newline_split, document.low, i) < rate_;
    if (split)
      out.insert(out.end(), parts.begin(), parts.end());
    else
      out.push_back(tokens[i]);
  }
  tokens = std::move(out);
}

EncodedStream::EncodedStream(Corpus &corpus, const Tokenizer &tokenizer, const Options &options,
                             int threads)
    : corpus_(corpus), tokenizer_(tokenizer),
      splitter_(tokenizer, options.newline_split, static_cast<std::uint64_t>(options.seed)),
      validation_(options.validation), threads_(threads) {}

const EncodedDocument *EncodedStream::peek() {
  if (ready_.empty()) fill();
  return ready_.empty() ? nullptr : &ready_.front();
}

void EncodedStream::fill() {
  std::vector<std::string> texts;
  std::size_t bytes = 0;
  while (bytes < kBatchBytes * static_cast<std::size_t>(threads_) &&
         texts.size() < kBatchDocuments) {
    std::optional<std::string> text = corpus_.next();
    if (!text) break;
    bytes += text->size();
    texts.push_back(std::move(*text));
    EncodedDocument document;
    document.after = corpus_.tell();
    document.skipped = corpus_.skipped();
    document.bytes_read = corpus_.bytes_read();
    ready_.push_back(std::move(document));
  }
  parallel_for(texts.size(), threads_, [&](std::size_t i) { encode(texts[i], ready_[i]); });
}

void EncodedStream::encode(const std::string &text, EncodedDocument &document) const {
  const base::Hash128 hash = base::hash128(text);
  document.tokens = tokenizer_.encode(text);
  document.text_bytes = static_cast<std::int64_t>(text.size());
  document.validation = held_out(hash, validation_);
  // Validation text is read as the tokenizer gives it, so that bits per byte of runs with other rates compare.
  if (!document.validation) splitter_.apply(document.tokens, hash);
}

} // namespace data

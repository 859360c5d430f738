// SPDX-License-Identifier: Apache-2.0
#pragma once
// Byte-level BPE tokenizer: reads and writes Hugging Face tokenizer.json, encodes, decodes. The
// split patterns and the algorithm are those of DeepSeek-V3 (docs/tokenizer.md). Immutable after
// loading; encode and decode are thread-safe.
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.hpp"

namespace data {

using Token = std::int32_t;

class Tokenizer {
public:
  // Errors E100 (cannot be read), E101 (not a tokenizer.json that we understand; says which part),
  // exit code 6.
  static Tokenizer load(const std::filesystem::path &tokenizer_json);
  static Tokenizer from_json(std::string_view json, std::string_view where);
  Tokenizer(Tokenizer &&) noexcept;
  Tokenizer &operator=(Tokenizer &&) noexcept;
  ~Tokenizer();

  // parse_special: text of added tokens becomes their ids; otherwise it is plain text. Invalid
  // UTF-8: error E102.
  std::vector<Token> encode(std::string_view utf8, bool parse_special = false) const;
  std::string decode(std::span<const Token> tokens,
                     bool skip_special = false) const; // bytes; may be cut UTF-8
  std::string token_bytes(Token id) const;             // what the token stands for
  bool is_special(Token id) const;
  int size() const;                                               // one more than the largest id
  std::optional<Token> id_of(std::string_view added_token) const; // of an added token by its text
  Token bos() const, eos() const;                                 // begin and end of sentence
  std::optional<Token> fim_begin() const, fim_hole() const, fim_end() const;
  // A token of punctuation followed by line breaks (candidates for random splitting): the two
  // parts' encodings, else empty.
  std::vector<Token> split_newline(Token id) const;

  std::string to_json() const; // loads again to the same tokenizer, byte for byte the same text
  base::Hash128 hash() const;  // of to_json()

private:
  friend class TokenizerTrainer;
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

struct TokenizerTraining {
  int vocabulary = 4096;                       // ids in all, added tokens included
  int min_count = 2;                           // a pair rarer than this is not merged
  std::vector<std::string> extra_added_tokens; // beside bos, eos, pad, the FIM and chat tokens
};

// Trains on texts (each a document). Deterministic: ties go to the pair of lower ids. Error E103
// when there is too little text. Texts are added in any number of calls; finish() gives the
// tokenizer.
class TokenizerTrainer {
public:
  explicit TokenizerTrainer(TokenizerTraining options);
  ~TokenizerTrainer();
  void add(std::string_view document);
  Tokenizer finish();

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace data

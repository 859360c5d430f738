// SPDX-License-Identifier: Apache-2.0
#pragma once
// The inside of Tokenizer: tables made once from a checked file.
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/added_tokens.hpp"
#include "data/bpe.hpp"
#include "data/splitter.hpp"
#include "data/tokenizer.hpp"
#include "data/tokenizer_file.hpp"

namespace data {

struct Tokenizer::Impl {
  Impl(TokenizerFile &&contents, std::string_view name);

  // Text without added tokens, or a single piece.
  void encode_text(std::string_view text, std::vector<Token> &out) const;
  void encode_piece(std::string_view piece, std::vector<Token> &out) const;
  std::string_view bytes_of(Token id) const; // E104 when there is no such id
  std::optional<Token>
  one_of(std::initializer_list<const char *> contents) const; // the first that is an added token

  TokenizerFile file;
  std::string where;
  std::uint64_t number; // no two tokenizers of a process share one; the caches' key
  Splitter splitter;
  Bpe bpe;
  TextMatcher raw, normalized; // added tokens, the former cut out first
  std::string bytes;           // of all tokens, one after another
  std::vector<std::size_t> begins;
  std::vector<bool> special, added;
  std::unordered_map<std::string_view, Token> added_ids; // views of file.added
  std::unordered_map<std::string_view, Token>
      whole; // by bytes, of the vocabulary; filled for ignore_merges only
  std::unordered_map<Token, std::vector<Token>> newline_parts;
  std::optional<Token> bos, eos, fim_begin, fim_hole, fim_end;
};

} // namespace data

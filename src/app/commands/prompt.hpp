// SPDX-License-Identifier: Apache-2.0
#pragma once
// What hadal generate begins with: a text, a user's turn, or token ids from a file.
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "data/tokenizer.hpp"

namespace app {

struct PromptArguments {
  enum class Kind { text, chat, tokens } kind = Kind::text;
  std::string text;     // --prompt, --chat
  std::string file;     // --tokens
  std::string form;     // of a chat
  bool special = false; // the text of added tokens is their ids
};

// The ids. A text begins as documents did in training: with bos where the tokenizer's settings ask for it (add_bos_token), else behind
// the end of another document, unless documents are masked from each other; token ids are taken as they are. Errors E261 (an id
// outside the vocabulary, or no number), E133, E134.
std::vector<data::Token> prompt_tokens(const PromptArguments &a, const data::Tokenizer &tokenizer,
                                       const checkpoint::Reader &reader, bool masked,
                                       std::int64_t vocabulary);

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "eval/evaluate.hpp"

namespace eval {

using data::Token;
using Tokens = std::vector<Token>;

Tokens encode_prompt(const data::Tokenizer &tokenizer, const Wording &wording,
                     const std::string &text) {
  if (wording.chat) {
    data::chat::Message turn;
    turn.content = text;
    return data::chat::encode({turn}, tokenizer, {*wording.chat, true}).tokens;
  }
  Tokens tokens;
  if (wording.start) tokens.push_back(*wording.start);
  const Tokens more = tokenizer.encode(text);
  tokens.insert(tokens.end(), more.begin(), more.end());
  if (tokens.empty()) tokens.push_back(tokenizer.eos()); // something must be there to predict from
  return tokens;
}

Pair encode_pair(const data::Tokenizer &tokenizer, const Wording &wording, std::string context,
                 std::string continuation) {
  if (wording.chat)
    return {encode_prompt(tokenizer, wording, context), tokenizer.encode(continuation)};
  const std::size_t end = context.find_last_not_of(" \t\n");
  const std::size_t keep = end == std::string::npos ? 0 : end + 1;
  continuation = context.substr(keep) + continuation;
  context.resize(keep);
  Tokens whole = tokenizer.encode(context + continuation);
  const std::size_t before = std::min(tokenizer.encode(context).size(), whole.size() - 1);
  Pair pair;
  if (wording.start) pair.context.push_back(*wording.start);
  pair.context.insert(pair.context.end(), whole.begin(), whole.begin() + static_cast<long>(before));
  pair.continuation.assign(whole.begin() + static_cast<long>(before), whole.end());
  if (pair.context.empty()) pair.context.push_back(tokenizer.eos());
  return pair;
}

} // namespace eval

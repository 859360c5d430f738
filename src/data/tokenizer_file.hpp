// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a tokenizer.json says, checked. Everything that would change tokens and that we do not do is
// refused by name, so that a file either encodes as its author meant or not at all
// (docs/tokenizer.md lists what is accepted).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/json.hpp"
#include "data/splitter.hpp"
#include "data/tokenizer.hpp"

namespace data {

struct AddedToken {
  std::string content;
  Token id = 0;
  bool special = true;
  bool normalized = false; // looked for after the others; nothing is normalized here
};

struct MergePair {
  Token left, right, merged;
};

struct TokenizerFile {
  std::vector<std::string> vocabulary; // by id, in the byte alphabet; ids from 0 without holes
  std::vector<MergePair> merges;       // by rank
  std::vector<AddedToken> added;       // by id; those below vocabulary.size() stand in it too
  std::vector<SplitRule> splits;
  bool ignore_merges = false;
  bool states_ignore_merges = false; // the key is there
  // Parts that change nothing here, kept to be written again.
  Json normalizer, pre_tokenizer, post_processor, decoder;
  std::vector<std::pair<std::string, Json>>
      model_scalars; // keys of the model other than vocab and merges, in order

  // Throws UserError E101 that names `where`, the part and what is accepted.
  static TokenizerFile parse(std::string_view json, std::string_view where);
  std::string to_json() const;
};

// The form that DeepSeek-V3 publishes, with nothing in it yet.
TokenizerFile deepseek_form();

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one line of JSONL becomes: checked turns, tokens with marks, pieces of what is too long.
#include <cstdint>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "data/conversation_options.hpp"
#include "data/jsonl.hpp"

namespace data::turns {

struct Encoder {
  const Tokenizer &tokenizer;
  chat::Form form = chat::Form::corrected;
  std::int64_t capacity = 0; // tokens that an item may have
};

struct Made {
  std::vector<std::vector<chat::Encoded>> items; // segments of each; none: too long
  base::Hash128
      question; // of what the users say: decides what is held out, so that equal questions fall on one side
  bool over_long = false; // it did not fit as a whole
  std::int64_t dropped_turns = 0;
};

// The order that training wants: a user's turn, then the assistant's (its calls, their results, ...), and so on; system
// messages anywhere. answered: the last turn is the assistant's. Error E132.
void require_order(const chat::Messages &messages, bool answered, std::string_view where);

// {"messages": [...]}. Errors E130 to E132, E136, E137.
Made conversation(const JsonLine &line, const Encoder &encoder, OverLong over_long,
                  TrainOn train_on);
// {"prompt": text or messages, "chosen": ..., "rejected": ...}; answers are texts or messages. Also E138.
Made pair(const JsonLine &line, const Encoder &encoder, OverLong over_long);

} // namespace data::turns

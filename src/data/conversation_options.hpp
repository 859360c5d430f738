// SPDX-License-Identifier: Apache-2.0
#pragma once
// The deck's tables of conversations (docs/sft.md): [sft] with its [[sft.source]] list for fine-tuning, [pairs] with its
// [[pairs.source]] list for preferences.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/chat_template.hpp"
#include "deck/deck.hpp"

namespace data {

enum class OverLong { drop, split, stop };
enum class TrainOn { assistant, last, all };
enum class BadLine { stop, skip };

// One [[sft.source]] or [[pairs.source]].
struct ConversationSource {
  std::string name;
  std::vector<std::string> paths, include, exclude;
  std::int64_t repeat = 1;
  template <class R> void keys(R &r) {
    r.required(name, "name", "short name of the source, for tables: letters, digits, - and _ only");
    r.required(paths, "paths",
               "JSONL files, folders (read recursively) and globs (*, ?, [abc], **); symbolic "
               "links are not followed");
    r.key(include, "include",
          "file-name patterns that files from folders and globs must match; empty: *.jsonl");
    r.key(exclude, "exclude",
          "file-name patterns of files from folders and globs that are left out");
    r.key(repeat, "repeat", 1, 0, 1000, "times",
          "how often an epoch holds each conversation of this source; 0: checked, not read");
  }
};

// What both tables have.
struct ConversationOptions {
  std::string tokenizer;
  chat::Form form = chat::Form::corrected;
  BadLine on_bad = BadLine::stop;
  double validation = 0.0;
  bool packing = true;
  std::vector<ConversationSource> sources;

protected:
  template <class R> void common_keys(R &r) {
    r.key(tokenizer, "tokenizer", "",
          "path of a tokenizer.json, or of a folder or checkpoint with one; empty: that of "
          "run.init_from");
    r.template choice<chat::Form>(
        form, "form", chat::Form::corrected,
        {{"original", chat::Form::original}, {"corrected", chat::Form::corrected}},
        "chat layout: as first published, or as published later (V3-0324); docs/chat.md");
    r.template choice<BadLine>(on_bad, "on_bad", BadLine::stop,
                               {{"stop", BadLine::stop}, {"skip", BadLine::skip}},
                               "what to do with a line that cannot be used: stop with an error, or "
                               "skip and count it");
    r.key(validation, "validation", 0.02, 0.0, 0.9, "",
          "share held out, chosen by the hash of what the users say");
    r.key(packing, "packing", true,
          "several to a sample, invisible to each other; false: each in a sample of its own");
  }
};

// The table [sft].
struct ChatOptions : ConversationOptions {
  OverLong over_long = OverLong::drop;
  TrainOn train_on = TrainOn::assistant;
  template <class R> void keys(R &r) {
    common_keys(r);
    r.template choice<OverLong>(
        over_long, "over_long", OverLong::drop,
        {{"drop", OverLong::drop}, {"split", OverLong::split}, {"stop", OverLong::stop}},
        "a conversation longer than a sample: leave it out and count it; cut it between a user's "
        "turns, each piece with the system messages; stop with an error");
    r.template choice<TrainOn>(
        train_on, "train_on", TrainOn::assistant,
        {{"assistant", TrainOn::assistant}, {"last", TrainOn::last}, {"all", TrainOn::all}},
        "tokens whose loss counts: of all turns of the assistant, of its last turn, or all");
  }
};

// The table [pairs].
struct PairOptions : ConversationOptions {
  OverLong over_long = OverLong::drop;
  template <class R> void keys(R &r) {
    common_keys(r);
    r.template choice<OverLong>(over_long, "over_long", OverLong::drop,
                                {{"drop", OverLong::drop}, {"stop", OverLong::stop}},
                                "a pair longer than a sample: leave it out and count it; stop with "
                                "an error");
  }
};

// Read a table and its list and check them (E139).
ChatOptions read_chat_options(deck::Deck &deck);
PairOptions read_pair_options(deck::Deck &deck);
// What cannot be checked key by key; where: deck path for the message.
void check_options(const ChatOptions &options, const std::string &where);
void check_options(const PairOptions &options, const std::string &where);

// Declared keys of the four tables, for docs/decks.md.
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> conversation_keys();

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "data/conversation_options.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"

namespace data {
namespace {

[[noreturn]] void refuse(const std::string &where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::deck, "E139", where, read, advice);
}

bool usable_name(const std::string &name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

void check_sources(const std::vector<ConversationSource> &sources, const std::string &table,
                   const std::string &where) {
  if (sources.empty())
    refuse(where, fmt::format("no [[{}.source]]", table),
           "Name at least one source of JSONL files, with its name and paths.");
  std::set<std::string> names;
  std::int64_t readings = 0;
  for (const ConversationSource &source : sources) {
    const std::string read = fmt::format("[[{}.source]] name = \"{}\"", table, source.name);
    if (!usable_name(source.name))
      refuse(where, read, "A name has 1 to 64 letters, digits, - and _.");
    if (!names.insert(source.name).second)
      refuse(where, read, "Two sources have this name; give each its own.");
    if (source.paths.empty())
      refuse(where, read, "paths is an empty list; give at least one file, folder or glob.");
    readings += source.repeat;
  }
  if (readings == 0)
    refuse(where, fmt::format("[[{}.source]] repeat", table),
           "It is 0 for all sources, so nothing could be read; at least one must be positive.");
}

} // namespace

void check_options(const ChatOptions &options, const std::string &where) {
  check_sources(options.sources, "sft", where);
  if (options.over_long == OverLong::split && options.train_on == TrainOn::last)
    refuse(where, "[sft] over_long = \"split\" with train_on = \"last\"",
           "Of a conversation that is cut, only the last piece would have anything to train on. "
           "Take \"drop\", or train on \"assistant\".");
}

void check_options(const PairOptions &options, const std::string &where) {
  check_sources(options.sources, "pairs", where);
}

ChatOptions read_chat_options(deck::Deck &deck) {
  ChatOptions options;
  deck.read_table("sft", options);
  options.sources = deck.read_list<ConversationSource>("sft.source");
  check_options(options, deck.path());
  return options;
}

PairOptions read_pair_options(deck::Deck &deck) {
  PairOptions options;
  deck.read_table("pairs", options);
  options.sources = deck.read_list<ConversationSource>("pairs.source");
  check_options(options, deck.path());
  return options;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> conversation_keys() {
  return {{"sft", deck::declare<ChatOptions>("sft")},
          {"sft.source", deck::declare<ConversationSource>("sft.source")},
          {"pairs", deck::declare<PairOptions>("pairs")},
          {"pairs.source", deck::declare<ConversationSource>("pairs.source")}};
}

} // namespace data

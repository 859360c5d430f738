// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a Deck keeps. Private to this room.
#include <map>
#include <set>
#include <string>
#include <vector>

#include "deck/node.hpp"

namespace deck {

struct Deck::Impl {
  std::string name;
  Node root;
  std::set<std::string> tables;                       // read, so that their keys are known
  std::set<std::string> ignored;                      // known, keys not looked at
  std::map<std::string, std::set<std::string>> known; // table -> keys
  std::vector<KeyInfo> declared;                      // in reading order
  std::vector<Resolved> resolved;

  void declare(const KeyInfo &info);
  void resolve(Resolved value);
  // Where a message about [table] key points: the key, else the table, else the file.
  std::string where(std::string_view table, std::string_view key) const;
  std::string table_where(std::string_view table) const;
  std::string shown(std::string_view table, std::string_view key) const; // "[table] key = value"
};

// "[table] key = value" for messages; "[[table]]" when the table is an element of a list.
std::string show_key(std::string_view table, std::string_view key, const Node &node);

} // namespace deck

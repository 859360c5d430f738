// SPDX-License-Identifier: Apache-2.0
#pragma once
// The values of a deck as a tree of our own, so that only document.cpp sees the TOML library. Every
// value knows where it was written and by whom.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "deck/deck.hpp"

namespace deck {

enum class Kind { table, list, text, integer, real, boolean, date };

struct Member;

struct Node {
  Kind kind = Kind::table;
  std::int64_t integer = 0;
  double real = 0;
  bool boolean = false;
  std::string text;            // of a text; of a date as written
  std::string raw;             // of an override: the value as typed
  std::vector<Node> items;     // of a list
  std::vector<Member> members; // of a table, in the file's order
  Origin origin = Origin::file;
  std::string file;
  int line = 0;

  Node *find(std::string_view name);
  const Node *find(std::string_view name) const;
  // Follows a dotted path through tables; a number picks an element of a list.
  const Node *at(std::string_view dotted) const;
  bool is_list_of_tables() const;
  std::string where() const; // "file:line" or "command line"
};

// No std::pair: Clang 14 cannot make one of a type that holds a list of such pairs.
struct Member {
  std::string name;
  Node value;
};

std::vector<std::string> split_path(std::string_view dotted);

// A value in TOML syntax.
std::string to_toml(const Node &node);
std::string to_toml(std::int64_t value);
std::string to_toml(double value);
std::string to_toml(bool value);
std::string to_toml(const std::string &value);
std::string to_toml(const std::vector<std::string> &value);
std::string to_toml(const std::vector<double> &value);
std::string to_toml(const std::vector<std::int64_t> &value);
std::string shorten(const std::string &text); // at most 60 characters, for messages
std::string type_name(Kind kind);             // "a whole number", "a table", ...

} // namespace deck

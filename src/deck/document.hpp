// SPDX-License-Identifier: Apache-2.0
#pragma once
// From text to a tree: the TOML text of a deck (E002, E003), and overrides laid over it (E003,
// E004).
#include <string>
#include <string_view>
#include <vector>

#include "deck/node.hpp"

namespace deck {

inline constexpr std::size_t kMostDeckBytes = 1 << 20;

// What is wrong with a text, before anybody knows whose text it is.
struct SyntaxError {
  int line = 1;
  std::string why;
  bool repeated = false; // a key or table was given twice
};

Node parse_tree(std::string_view text, const std::string &name, Origin origin); // SyntaxError
Node parse_document(std::string_view text, const std::string &name, Origin origin);

// "table.key=value" each; later precedence over the file. The same key twice is an error.
void apply_overrides(Node &root, const std::vector<std::string> &overrides);

// Adds what `restart` holds and `root` lacks.
void fill_from(Node &root, const Node &restart);

} // namespace deck

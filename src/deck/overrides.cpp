// SPDX-License-Identifier: Apache-2.0
// Values laid over a deck's tree: those of the command line above, those of a restart below.
#include <algorithm>
#include <set>

#include "base/text.hpp"
#include "deck/document.hpp"

namespace deck {
namespace {

using base::Exit;
using base::UserError;

constexpr std::size_t kMostParts = 16;

[[noreturn]] void bad_override(const std::string &given, const std::string &why) {
  throw UserError(Exit::deck, "E004", "command line", shorten(given),
                  why + "\nAn override reads table.key=value, for instance train.steps=20.");
}

bool is_bare_key(const std::string &part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-';
  });
}

// TOML where it is TOML; else the bare word is the text itself.
Node override_value(const std::string &given, const std::string &raw) {
  if (!base::text::valid_utf8(raw) ||
      std::any_of(raw.begin(), raw.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }))
    bad_override(given, "The value holds control characters or is not UTF-8.");
  Node node;
  const bool quoted =
      !raw.empty() && std::string_view("\"'[{").find(raw[0]) != std::string_view::npos;
  node.kind = Kind::text;
  node.text = raw;
  try {
    const bool comment = !quoted && raw.find('#') != std::string::npos; // a text, not a comment
    if (!comment)
      node = parse_tree("value = " + raw + "\n", "command line", Origin::command_line)
                 .members[0]
                 .value;
  } catch (const SyntaxError &error) {
    if (quoted) bad_override(given, error.why);
  }
  node.origin = Origin::command_line;
  node.raw = raw;
  return node;
}

// The member that a part of an override's path names; tables are made on the way.
Node &descend(Node &node, const std::string &part, const std::string &given) {
  if (node.kind == Kind::list) {
    const Node *item = node.at(part);
    if (item == nullptr)
      bad_override(given,
                   fmt::format("{} is not an element of this list: it has {}, counted from 0.",
                               part, node.items.size()));
    return *const_cast<Node *>(item);
  }
  if (node.kind != Kind::table)
    bad_override(given, fmt::format("What stands before \"{}\" is {} at {}, not a table.", part,
                                    type_name(node.kind), node.where()));
  if (Node *found = node.find(part)) return *found;
  Node table;
  table.origin = Origin::command_line;
  node.members.push_back({part, std::move(table)});
  return node.members.back().value;
}

} // namespace

void apply_overrides(Node &root, const std::vector<std::string> &overrides) {
  std::set<std::string> seen;
  for (const std::string &given : overrides) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos) bad_override(given, "There is no \"=\" in it.");
    const std::string path = given.substr(0, equals);
    const std::vector<std::string> parts = split_path(path);
    if (parts.size() < 2) bad_override(given, "The table's name is missing.");
    if (parts.size() > kMostParts) bad_override(given, "A deck's tables are not this deep.");
    if (!std::all_of(parts.begin(), parts.end(), is_bare_key))
      bad_override(given, "Names are made of letters, digits, \"_\" and \"-\".");
    if (!seen.insert(path).second)
      throw UserError(Exit::deck, "E003", "command line", shorten(given),
                      "This key was given twice on the command line; keep one of the two.");
    Node *node = &root;
    for (const std::string &part : parts) node = &descend(*node, part, given);
    if (node->kind == Kind::table && !node->members.empty())
      bad_override(given, path + " is a table; name one of its keys.");
    *node = override_value(given, given.substr(equals + 1));
  }
}

void fill_from(Node &root, const Node &restart) {
  for (const auto &[name, value] : restart.members) {
    Node *mine = root.find(name);
    if (mine == nullptr)
      root.members.push_back({name, value});
    else if (mine->kind == Kind::table && value.kind == Kind::table)
      fill_from(*mine, value);
  }
}

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
#include "deck/document.hpp"

#include <algorithm>
#include <set>
#include <sstream>

#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include "base/text.hpp"

namespace deck {
namespace {

using base::Exit;
using base::UserError;

// Dotted keys nest without limit in the TOML library, and taking down a deep tree would end the
// stack.
constexpr int kMostDots = 16;

std::string line_of(std::string_view text, int line) {
  for (; line > 1 && !text.empty(); --line) {
    const std::size_t end = text.find('\n');
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  std::string shown;
  for (const char c : text.substr(0, std::min(text.find('\n'), std::size_t{200}))) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  shown.erase(shown.find_last_not_of(' ') + 1);
  return base::text::valid_utf8(shown) ? shorten(shown) : "(bytes that are not text)";
}

[[noreturn]] void not_toml(std::string_view text, const std::string &name, int line,
                           const std::string &why) {
  throw UserError(Exit::deck, "E002", fmt::format("{}:{}", name, line), line_of(text, line), why);
}

// Faults that are found before the TOML library sees the text.
void check_text(std::string_view text, const std::string &name) {
  if (text.size() > kMostDeckBytes)
    throw UserError(Exit::deck, "E001", name, "is too large", "A deck has at most 1 MiB.");
  int line = 1, dots = 0;
  std::size_t begin = 0;
  char quote = 0; // inside a string of one line, or a comment ('#')
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : '\n';
    if (c == '\0') not_toml(text, name, line, "A deck is UTF-8 text; this file holds zero bytes.");
    if (c == '\n') {
      if (!base::text::valid_utf8(text.substr(begin, i - begin)))
        not_toml(text, name, line, "A deck is UTF-8 text; these bytes are not.");
      begin = i + 1;
      ++line;
      dots = quote = 0;
    } else if (quote != 0) {
      if (quote == '"' && c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
      if (c == quote && quote != '#') quote = 0;
    } else if (c == '"' || c == '\'' || c == '#') {
      quote = c;
    } else if (c == '.' && ++dots > kMostDots) {
      not_toml(
          text, name, line,
          fmt::format("More than {} dots in a row: a deck's tables are not this deep.", kMostDots));
    } else if (std::string_view("=,{[").find(c) != std::string_view::npos) {
      dots = 0;
    }
  }
}

Node convert(const toml::node &from, Origin origin, const std::string &name) {
  Node node;
  node.origin = origin;
  node.file = name;
  node.line = static_cast<int>(from.source().begin.line);
  if (const toml::table *table = from.as_table()) {
    for (const auto &[key, value] : *table) {
      Node member = convert(value, origin, name);
      member.line = static_cast<int>(key.source().begin.line);
      node.members.emplace_back(std::string(key.str()), std::move(member));
    }
    std::stable_sort(node.members.begin(), node.members.end(),
                     [](const auto &a, const auto &b) { return a.second.line < b.second.line; });
  } else if (const toml::array *list = from.as_array()) {
    node.kind = Kind::list;
    for (const toml::node &item : *list) node.items.push_back(convert(item, origin, name));
  } else if (const auto *text = from.as_string()) {
    node.kind = Kind::text;
    node.text = text->get();
  } else if (const auto *integer = from.as_integer()) {
    node.kind = Kind::integer;
    node.integer = integer->get();
  } else if (const auto *real = from.as_floating_point()) {
    node.kind = Kind::real;
    node.real = real->get();
  } else if (const auto *boolean = from.as_boolean()) {
    node.kind = Kind::boolean;
    node.boolean = boolean->get();
  } else {
    node.kind = Kind::date;
    std::ostringstream text;
    text << toml::node_view<const toml::node>(from);
    node.text = text.str();
  }
  return node;
}

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
  try {
    if (!quoted && raw.find('#') != std::string::npos) throw std::invalid_argument("a bare word");
    const toml::table table = toml::parse("value = " + raw + "\n");
    node = convert(*table.get("value"), Origin::command_line, "command line");
  } catch (const toml::parse_error &error) {
    if (quoted) bad_override(given, std::string(error.description()) + ".");
    node.kind = Kind::text;
    node.text = raw;
  } catch (const std::invalid_argument &) {
    node.kind = Kind::text;
    node.text = raw;
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
  node.members.emplace_back(part, std::move(table));
  return node.members.back().second;
}

} // namespace

Node parse_document(std::string_view text, const std::string &name, Origin origin) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3); // byte order mark
  check_text(text, name);
  try {
    return convert(toml::parse(text), origin, name);
  } catch (const toml::parse_error &error) {
    const int line = std::max(1, static_cast<int>(error.source().begin.line));
    const std::string why(error.description());
    if (why.find("redefine") != std::string::npos)
      throw UserError(Exit::deck, "E003", fmt::format("{}:{}", name, line), line_of(text, line),
                      "This key or table was given before; keep one of the two (" + why + ").");
    not_toml(text, name, line, fmt::format("{} (column {}).", why, error.source().begin.column));
  }
}

void apply_overrides(Node &root, const std::vector<std::string> &overrides) {
  std::set<std::string> seen;
  for (const std::string &given : overrides) {
    const std::size_t equals = given.find('=');
    if (equals == std::string::npos) bad_override(given, "There is no \"=\" in it.");
    const std::string path = given.substr(0, equals);
    const std::vector<std::string> parts = split_path(path);
    if (parts.size() < 2) bad_override(given, "The table's name is missing.");
    if (parts.size() > kMostDots) bad_override(given, "A deck's tables are not this deep.");
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
      root.members.emplace_back(name, value);
    else if (mine->kind == Kind::table && value.kind == Kind::table)
      fill_from(*mine, value);
  }
}

} // namespace deck

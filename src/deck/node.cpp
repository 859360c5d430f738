// SPDX-License-Identifier: Apache-2.0
#include "deck/node.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace deck {

const Node *Node::find(std::string_view name) const {
  const auto it = std::find_if(members.begin(), members.end(),
                               [&](const auto &member) { return member.name == name; });
  return it == members.end() ? nullptr : &it->value;
}

Node *Node::find(std::string_view name) {
  return const_cast<Node *>(static_cast<const Node *>(this)->find(name));
}

const Node *Node::at(std::string_view dotted) const {
  const Node *node = this;
  if (dotted.empty()) return node;
  for (const std::string &part : split_path(dotted)) {
    if (node->kind == Kind::list) {
      std::size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      const bool whole = error == std::errc() && end == part.data() + part.size();
      node = whole && index < node->items.size() ? &node->items[index] : nullptr;
    } else {
      node = node->kind == Kind::table ? node->find(part) : nullptr;
    }
    if (node == nullptr) return nullptr;
  }
  return node;
}

bool Node::is_list_of_tables() const {
  return kind == Kind::list && !items.empty() &&
         std::all_of(items.begin(), items.end(),
                     [](const Node &item) { return item.kind == Kind::table; });
}

std::string Node::where() const {
  return origin == Origin::command_line ? "command line" : fmt::format("{}:{}", file, line);
}

std::vector<std::string> split_path(std::string_view dotted) {
  std::vector<std::string> parts(1);
  for (const char c : dotted) {
    if (c == '.')
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

std::string to_toml(std::int64_t value) { return fmt::format("{}", value); }

std::string to_toml(double value) {
  const std::string text =
      fmt::format("{}", value); // the shortest text that reads back to the same bits
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

std::string to_toml(bool value) { return value ? "true" : "false"; }

std::string to_toml(const std::string &value) {
  std::string text = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (text += '\\') += c;
    else if (c == '\n')
      text += "\\n";
    else if (c == '\t')
      text += "\\t";
    else if (byte < 0x20 || byte == 0x7F)
      text += fmt::format("\\u{:04X}", byte);
    else
      text += c;
  }
  return text + "\"";
}

namespace {

template <class T> std::string list_to_toml(const std::vector<T> &values) {
  std::vector<std::string> parts;
  for (const T &value : values) parts.push_back(to_toml(value));
  return fmt::format("[{}]", fmt::join(parts, ", "));
}

} // namespace

std::string to_toml(const std::vector<std::string> &value) { return list_to_toml(value); }
std::string to_toml(const std::vector<double> &value) { return list_to_toml(value); }
std::string to_toml(const std::vector<std::int64_t> &value) { return list_to_toml(value); }

std::string to_toml(const Node &node) {
  switch (node.kind) {
  case Kind::integer: return to_toml(node.integer);
  case Kind::real: return to_toml(node.real);
  case Kind::boolean: return to_toml(node.boolean);
  case Kind::text: return to_toml(node.text);
  case Kind::date: return node.text;
  case Kind::list: return node.is_list_of_tables() ? "[{ ... }]" : list_to_toml(node.items);
  case Kind::table: return "{ ... }";
  }
  return "";
}

std::string shorten(const std::string &text) {
  constexpr std::size_t kMost = 60;
  if (text.size() <= kMost) return text;
  std::size_t cut = kMost - 4;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80)
    --cut; // whole characters
  return text.substr(0, cut) + " ...";
}

std::string type_name(Kind kind) {
  switch (kind) {
  case Kind::integer: return "a whole number";
  case Kind::real: return "a number";
  case Kind::boolean: return "true or false";
  case Kind::text: return "a text";
  case Kind::date: return "a date or time";
  case Kind::list: return "a list";
  case Kind::table: return "a table";
  }
  return "";
}

} // namespace deck

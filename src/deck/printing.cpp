// SPDX-License-Identifier: Apache-2.0
// The resolved values as a person reads them (echo), as the program reads them (resolved_toml), and
// what may be written (explain).
#include <algorithm>

#include "deck/impl.hpp"

namespace deck {
namespace {

std::string full_name(const Resolved &value) {
  return value.index < 0 ? fmt::format("{}.{}", value.table, value.name)
                         : fmt::format("{}.{}.{}", value.table, value.index, value.name);
}

std::string provenance(const Resolved &value) {
  switch (value.origin) {
  case Origin::fallback: return "default";
  case Origin::restart: return "restart " + value.where;
  case Origin::file: return value.where;
  case Origin::command_line: return value.where;
  }
  return "";
}

// Groups of one table, or of one element of a list, in the order of the first reading.
std::vector<std::vector<const Resolved *>> by_table(const std::vector<Resolved> &values) {
  std::vector<std::vector<const Resolved *>> groups;
  for (const Resolved &value : values) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const auto &g) {
      return g.front()->table == value.table && g.front()->index == value.index;
    });
    if (group == groups.end())
      groups.push_back({&value});
    else
      group->push_back(&value);
  }
  return groups;
}

} // namespace

std::string Deck::echo() const {
  std::size_t names = 0, values = 0;
  for (const Resolved &value : impl_->resolved) {
    names = std::max(names, full_name(value).size());
    values = std::max(values, std::min<std::size_t>(value.value.size(), 40));
  }
  std::string text;
  for (const auto &group : by_table(impl_->resolved))
    for (const Resolved *value : group)
      text += fmt::format("{:<{}}  {:<{}}  {}\n", full_name(*value), names, value->value, values,
                          provenance(*value));
  return text;
}

std::string Deck::resolved_toml() const {
  std::string text;
  for (const auto &group : by_table(impl_->resolved)) {
    const Resolved &first = *group.front();
    if (!text.empty()) text += '\n';
    const bool list = first.index >= 0;
    text += fmt::format("{}[{}]{}\n", list ? "[" : "", first.table, list ? "]" : "");
    for (const Resolved *value : group) text += fmt::format("{} = {}\n", value->name, value->value);
  }
  return text;
}

std::string Deck::explain() const {
  std::vector<std::string> tables;
  for (const KeyInfo &key : impl_->declared)
    if (std::find(tables.begin(), tables.end(), key.table) == tables.end())
      tables.push_back(key.table);
  std::string text;
  for (const std::string &table : tables) {
    text += fmt::format("{}[{}]\n", text.empty() ? "" : "\n", table);
    for (const KeyInfo &key : impl_->declared) {
      if (key.table != table) continue;
      text += fmt::format("  {} = {}\n      {}\n", key.name, key.fallback, key.help);
      const std::string unit = key.unit.empty() ? "" : " " + key.unit;
      text +=
          fmt::format("      {}{}{}{}\n", key.type, key.range.empty() ? "" : ": ", key.range, unit);
    }
  }
  return text;
}

} // namespace deck

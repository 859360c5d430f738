// SPDX-License-Identifier: Apache-2.0
// One declared key: find its value, check type and range, note where it came from.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/ranges.h>

#include "base/text.hpp"
#include "deck/impl.hpp"

namespace deck {
namespace {

using base::Exit;
using base::UserError;

template <class T> std::string bound(T value) {
  if constexpr (std::is_same_v<T, double>)
    return fmt::format("{}", value);
  else
    return base::text::with_commas(value);
}

// "16 to 1,048,576", "0 or more", "" where every value is allowed.
template <class T> std::string range_text(T low, T high) {
  constexpr bool real = std::is_same_v<T, double>;
  const bool no_low = real ? low <= -1e300 : low == std::numeric_limits<T>::min();
  const bool no_high = real ? high >= 1e300 : high == std::numeric_limits<T>::max();
  if (no_low && no_high) return "";
  if (no_high) return bound(low) + " or more";
  if (no_low) return bound(high) + " or less";
  return fmt::format("{} to {}", bound(low), bound(high));
}

template <class T>
std::string out_of_range(const char *name, T low, T high, const std::string &unit) {
  return fmt::format("{} must be {}{}{}.", name, range_text(low, high), unit.empty() ? "" : " ",
                     unit);
}

} // namespace

Reader::Reader(Deck *deck, std::string table, int list_index, std::vector<KeyInfo> *only_declare)
    : deck_(deck), table_(std::move(table)), list_index_(list_index), only_declare_(only_declare) {
  if (deck_ == nullptr) return;
  deck_->impl_->tables.insert(table_);
  const Node *node = deck_->impl_->root.at(table_);
  if (node == nullptr || node->kind == Kind::table || list_index_ >= 0) return;
  throw UserError(Exit::deck, "E006", node->where(), table_ + " = " + shorten(to_toml(*node)),
                  fmt::format("{} is a table: write [{}].", table_, table_));
}

const Node *Reader::find(const char *name, const KeyInfo &info) {
  if (only_declare_ != nullptr) only_declare_->push_back(info);
  if (deck_ == nullptr) return nullptr;
  deck_->impl_->declare(info);
  const Node *table = deck_->impl_->root.at(table_);
  if (table != nullptr && list_index_ >= 0)
    table = &table->items[static_cast<std::size_t>(list_index_)];
  return table == nullptr ? nullptr : table->find(name);
}

void Reader::keep(const KeyInfo &info, const Node *node, const std::string &value) {
  if (deck_ == nullptr) return;
  Resolved resolved{table_, info.name, value, Origin::fallback, "", list_index_};
  if (node != nullptr) {
    resolved.origin = node->origin;
    resolved.where = node->where();
  }
  deck_->impl_->resolve(std::move(resolved));
}

void Reader::refuse(const char *name, const Node &node, const char *number,
                    const std::string &why) const {
  const std::string table = list_index_ < 0 ? table_ : fmt::format("{}.{}", table_, list_index_);
  throw UserError(Exit::deck, number, node.where(), show_key(table, name, node), why);
}

void Reader::missing(const char *name, const char *help) const {
  if (deck_ == nullptr) return; // declared only
  const std::string table = list_index_ < 0 ? table_ : fmt::format("{}.{}", table_, list_index_);
  throw UserError(Exit::deck, "E009", deck_->impl_->table_where(table), fmt::format("[{}]", table),
                  fmt::format("The key {} is missing and has no default: {}.", name, help));
}

void Reader::key(std::int64_t &out, const char *name, std::int64_t fallback, std::int64_t low,
                 std::int64_t high, const char *unit, const char *help) {
  HADAL_CHECK(low <= fallback && fallback <= high, "[{}] {}: default {} outside {} .. {}", table_,
              name, fallback, low, high);
  const KeyInfo info{table_, name, "whole number", to_toml(fallback), range_text(low, high),
                     unit,   help};
  const Node *node = find(name, info);
  out = fallback;
  if (node != nullptr) out = whole(name, *node, low, high, unit);
  keep(info, node, to_toml(out));
}

std::int64_t Reader::whole(const char *name, const Node &node, std::int64_t low, std::int64_t high,
                           const std::string &unit) const {
  std::optional<std::int64_t> value;
  if (node.kind == Kind::integer) value = node.integer;
  if (node.kind == Kind::text) value = base::text::parse_count(node.text);
  if (!value)
    refuse(name, node, "E006",
           fmt::format(
               "{} must be a whole number, or a text with a suffix such as \"4Ki\" or \"14.8T\".",
               name));
  if (*value < low || *value > high)
    refuse(name, node, "E007", out_of_range(name, low, high, unit));
  return *value;
}

double Reader::number(const char *name, const Node &node, double low, double high,
                      const std::string &unit) const {
  double value = std::numeric_limits<double>::quiet_NaN();
  if (node.kind == Kind::real) value = node.real;
  if (node.kind == Kind::integer) value = static_cast<double>(node.integer);
  if (node.kind == Kind::text)
    if (const auto count = base::text::parse_count(node.text)) value = static_cast<double>(*count);
  if (!std::isfinite(value))
    refuse(name, node, "E006", fmt::format("{} must be a finite number.", name));
  if (value < low || value > high) refuse(name, node, "E007", out_of_range(name, low, high, unit));
  return value;
}

void Reader::key(double &out, const char *name, double fallback, double low, double high,
                 const char *unit, const char *help) {
  HADAL_CHECK(low <= fallback && fallback <= high, "[{}] {}: default {} outside {} .. {}", table_,
              name, fallback, low, high);
  const KeyInfo info{table_, name, "number", to_toml(fallback), range_text(low, high), unit, help};
  const Node *node = find(name, info);
  out = node == nullptr ? fallback : number(name, *node, low, high, unit);
  keep(info, node, to_toml(out));
}

void Reader::key(bool &out, const char *name, bool fallback, const char *help) {
  const KeyInfo info{table_, name, "true or false", to_toml(fallback), "", "", help};
  const Node *node = find(name, info);
  if (node != nullptr && node->kind != Kind::boolean)
    refuse(name, *node, "E006", fmt::format("{} must be true or false, without quotes.", name));
  out = node == nullptr ? fallback : node->boolean;
  keep(info, node, to_toml(out));
}

// On the command line a number is a text too where a text is wanted: run.name=2024.
std::string Reader::text(const char *name, const Node &node) const {
  const bool scalar = node.kind != Kind::table && node.kind != Kind::list;
  if (node.kind != Kind::text && (node.raw.empty() || !scalar))
    refuse(name, node, "E006", fmt::format("{} must be a text in quotes.", name));
  const std::string &value = node.kind == Kind::text ? node.text : node.raw;
  if (value.find('\0') != std::string::npos)
    refuse(name, node, "E006", fmt::format("{} must not hold a zero byte.", name));
  return value;
}

void Reader::key(std::string &out, const char *name, const char *fallback, const char *help) {
  const KeyInfo info{table_, name, "text", to_toml(std::string(fallback)), "", "", help};
  const Node *node = find(name, info);
  out = node == nullptr ? fallback : text(name, *node);
  keep(info, node, to_toml(out));
}

std::vector<std::string> Reader::texts(const char *name, const Node &node) const {
  std::vector<std::string> values;
  const bool only_texts = node.kind == Kind::list &&
                          std::all_of(node.items.begin(), node.items.end(),
                                      [](const Node &item) { return item.kind == Kind::text; });
  if (!only_texts)
    refuse(name, node, "E006",
           fmt::format("{} must be a list of texts, such as [\"a\", \"b\"].", name));
  for (const Node &item : node.items) values.push_back(text(name, item));
  return values;
}

void Reader::key(std::vector<std::string> &out, const char *name, const char *help) {
  const KeyInfo info{table_, name, "list of texts", "[]", "", "", help};
  const Node *node = find(name, info);
  out = node == nullptr ? std::vector<std::string>{} : texts(name, *node);
  keep(info, node, to_toml(out));
}

void Reader::key(std::vector<double> &out, const char *name, std::vector<double> fallback,
                 double low, double high, const char *unit, const char *help) {
  const KeyInfo info{table_, name, "list of numbers", to_toml(fallback), range_text(low, high),
                     unit,   help};
  const Node *node = find(name, info);
  out = std::move(fallback);
  if (node != nullptr) {
    if (node->kind != Kind::list)
      refuse(name, *node, "E006",
             fmt::format("{} must be a list of numbers, such as [1.0, 2.5].", name));
    out.clear();
    for (const Node &item : node->items) out.push_back(number(name, item, low, high, unit));
  }
  keep(info, node, to_toml(out));
}

void Reader::key(std::vector<std::int64_t> &out, const char *name,
                 std::vector<std::int64_t> fallback, std::int64_t low, std::int64_t high,
                 const char *unit, const char *help) {
  const KeyInfo info{
      table_, name, "list of whole numbers", to_toml(fallback), range_text(low, high), unit, help};
  const Node *node = find(name, info);
  out = std::move(fallback);
  if (node != nullptr) {
    if (node->kind != Kind::list)
      refuse(name, *node, "E006",
             fmt::format("{} must be a list of whole numbers, such as [4, 5].", name));
    out.clear();
    for (const Node &item : node->items) out.push_back(whole(name, item, low, high, unit));
  }
  keep(info, node, to_toml(out));
}

void Reader::duration(double &out, const char *name, double fallback, double low, double high,
                      const char *help) {
  HADAL_CHECK(low <= fallback && fallback <= high, "[{}] {}: default {} outside {} .. {}", table_,
              name, fallback, low, high);
  const KeyInfo info{table_, name, "duration", to_toml(fallback), range_text(low, high), "s", help};
  const Node *node = find(name, info);
  out = fallback;
  if (node != nullptr && node->kind == Kind::text) {
    const auto seconds = base::text::parse_duration(node->text);
    if (!seconds)
      refuse(
          name, *node, "E006",
          fmt::format(
              "{} must be a number of seconds or a text such as \"90s\", \"10m\", \"6h\", \"2d\".",
              name));
    if (*seconds < low || *seconds > high)
      refuse(name, *node, "E007", out_of_range(name, low, high, "s"));
    out = *seconds;
  } else if (node != nullptr) {
    out = number(name, *node, low, high, "s");
  }
  keep(info, node, to_toml(out));
}

void Reader::required(std::string &out, const char *name, const char *help) {
  const KeyInfo info{table_, name, "text", "required", "", "", help};
  const Node *node = find(name, info);
  if (node == nullptr) return missing(name, help);
  out = text(name, *node);
  keep(info, node, to_toml(out));
}

void Reader::required(std::vector<std::string> &out, const char *name, const char *help) {
  const KeyInfo info{table_, name, "list of texts", "required", "", "", help};
  const Node *node = find(name, info);
  if (node == nullptr) return missing(name, help);
  out = texts(name, *node);
  keep(info, node, to_toml(out));
}

std::size_t Reader::choose(const char *name, std::size_t fallback,
                           const std::vector<std::string> &names, const char *help) {
  HADAL_CHECK(fallback < names.size(), "[{}] {} has no choices", table_, name);
  const KeyInfo info{
      table_, name, "choice", to_toml(names[fallback]), fmt::format("{}", fmt::join(names, ", ")),
      "",     help};
  const Node *node = find(name, info);
  std::size_t chosen = fallback;
  if (node != nullptr) {
    const std::string word = text(name, *node);
    chosen = static_cast<std::size_t>(std::find(names.begin(), names.end(), word) - names.begin());
    const std::string near = base::text::nearest(word, names);
    if (chosen == names.size())
      refuse(name, *node, "E008",
             fmt::format("{} must be one of: {}{}", name, fmt::join(names, ", "),
                         near.empty() ? "." : fmt::format("; did you mean {}?", near)));
  }
  keep(info, node, to_toml(names[chosen]));
  return chosen;
}

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
#include "deck/deck.hpp"

#include <algorithm>

#include "base/files.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "deck/document.hpp"
#include "deck/impl.hpp"

namespace deck {

using base::Exit;
using base::UserError;

Deck::Deck(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Deck::Deck(Deck &&) noexcept = default;
Deck &Deck::operator=(Deck &&) noexcept = default;
Deck::~Deck() = default;

Deck Deck::read(const std::string &path, const std::vector<std::string> &overrides) {
  return parse(base::read_file(path, Exit::deck, "E001", kMostDeckBytes), path, overrides);
}

Deck Deck::parse(std::string_view text, const std::string &name,
                 const std::vector<std::string> &overrides) {
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->root = parse_document(text, name, Origin::file);
  apply_overrides(impl->root, overrides);
  return Deck(std::move(impl));
}

void Deck::add_restart(std::string_view text, const std::string &name) {
  HADAL_CHECK(impl_->resolved.empty(), "tables of {} were read before its restart", impl_->name);
  fill_from(impl_->root, parse_document(text, name, Origin::restart));
}

const std::string &Deck::path() const { return impl_->name; }

bool Deck::has(std::string_view table) const { return impl_->root.at(table) != nullptr; }

bool Deck::has(std::string_view table, std::string_view key) const {
  const Node *node = impl_->root.at(table);
  return node != nullptr && node->find(key) != nullptr;
}

std::string Deck::where(std::string_view table, std::string_view key) const {
  return impl_->where(table, key);
}

void Deck::ignore_table(const std::string &table) { impl_->ignored.insert(table); }

void Deck::fail(std::string_view table, std::string_view key, std::string_view number,
                std::string_view advice) const {
  throw UserError(Exit::deck, number, where(table, key), impl_->shown(table, key), advice);
}

void Deck::note_declared(const std::vector<KeyInfo> &keys) {
  for (const KeyInfo &key : keys) {
    impl_->tables.insert(key.table);
    impl_->declare(key);
  }
}

const std::vector<KeyInfo> &Deck::declared() const { return impl_->declared; }
const std::vector<Resolved> &Deck::resolved() const { return impl_->resolved; }

int list_size(const Deck &deck, const std::string &table) {
  const Node *node = deck.impl_->root.at(table);
  if (node == nullptr) return 0;
  const bool empty_list = node->kind == Kind::list && node->items.empty();
  if (!node->is_list_of_tables() && !empty_list)
    throw UserError(Exit::deck, "E006", node->where(), table + " = " + shorten(to_toml(*node)),
                    fmt::format("{} is a list of tables: write [[{}]].", table, table));
  return static_cast<int>(node->items.size());
}

void Deck::Impl::declare(const KeyInfo &info) {
  const bool first = known[info.table].insert(info.name).second;
  if (first) declared.push_back(info);
}

void Deck::Impl::resolve(Resolved value) {
  const auto same = [&](const Resolved &other) {
    return other.name == value.name && other.table == value.table && other.index == value.index;
  };
  const auto it = std::find_if(resolved.begin(), resolved.end(), same);
  if (it == resolved.end())
    resolved.push_back(std::move(value));
  else
    *it = std::move(value);
}

std::string Deck::Impl::table_where(std::string_view table) const {
  std::string path(table);
  while (!path.empty()) {
    if (const Node *node = root.at(path)) return node->where();
    path.resize(path.find('.') == std::string::npos ? 0 : path.rfind('.'));
  }
  return name;
}

std::string Deck::Impl::where(std::string_view table, std::string_view key) const {
  const Node *node = root.at(table);
  if (node != nullptr && (node = node->find(key)) != nullptr) return node->where();
  return table_where(table);
}

std::string Deck::Impl::shown(std::string_view table, std::string_view key) const {
  const Node *node = root.at(table);
  if (node != nullptr && (node = node->find(key)) != nullptr) return show_key(table, key, *node);
  for (const Resolved &value : resolved)
    if (value.name == key &&
        (value.index < 0 ? value.table : fmt::format("{}.{}", value.table, value.index)) == table)
      return fmt::format("[{}] {} = {} (the default)", table, key, shorten(value.value));
  return key.empty() ? fmt::format("[{}]", table) : fmt::format("[{}] {} (not given)", table, key);
}

std::string show_key(std::string_view table, std::string_view key, const Node &node) {
  const std::string name = shorten(std::string(key));
  if (node.kind == Kind::table)
    return fmt::format("[{}{}{}]", table, table.empty() ? "" : ".", name);
  const std::string value = shorten(node.raw.empty() ? to_toml(node) : node.raw);
  return fmt::format("{}{} = {}", table.empty() ? "" : fmt::format("[{}] ", table), name, value);
}

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
// The complaint about every table and key that no options struct has declared.
#include <algorithm>

#include "base/log.hpp"
#include "base/text.hpp"
#include "deck/impl.hpp"

namespace deck {
namespace {

struct Complaint {
  const Node *node;
  std::string read, why;
  const char *number = "E005";
};

bool starts_below(const std::string &path, const std::string &table) {
  return path.size() > table.size() && path.compare(0, table.size(), table) == 0 &&
         path[table.size()] == '.';
}

class Finder {
public:
  explicit Finder(const Deck::Impl &impl) : impl_(impl) {
    for (const std::set<std::string> *names : {&impl.tables, &impl.ignored})
      tables_.insert(names->begin(), names->end());
  }

  std::vector<Complaint> find() {
    visit_members("", "", impl_.root);
    std::stable_sort(found_.begin(), found_.end(), [](const Complaint &a, const Complaint &b) {
      return std::pair(a.node->origin, a.node->line) < std::pair(b.node->origin, b.node->line);
    });
    return std::move(found_);
  }

private:
  bool leads_to_table(const std::string &path) const {
    return tables_.count(path) != 0 ||
           std::any_of(tables_.begin(), tables_.end(),
                       [&](const auto &t) { return starts_below(t, path); });
  }

  // `table` is the declared name, `shown` the same with the places in lists.
  void visit_members(const std::string &table, const std::string &shown, const Node &node) {
    for (const auto &[name, member] : node.members) {
      const std::string path = table.empty() ? name : table + "." + name;
      const std::string shown_path = shown.empty() ? name : shown + "." + name;
      if (impl_.ignored.count(path) != 0 && impl_.tables.count(path) == 0) continue;
      const auto keys = impl_.known.find(table);
      if (keys != impl_.known.end() && keys->second.count(name) != 0) continue;
      const bool tables = member.kind == Kind::table || member.is_list_of_tables();
      if (!leads_to_table(path))
        complain(table, shown, name, member, tables);
      else if (member.kind == Kind::table)
        visit_members(path, shown_path, member);
      else if (tables)
        for (std::size_t i = 0; i < member.items.size(); ++i)
          visit_members(path, fmt::format("{}.{}", shown_path, i), member.items[i]);
      else if (member.kind != Kind::list || !member.items.empty())
        found_.push_back({&member, show_key(shown, name, member),
                          fmt::format("{} is a table: write [{}].", path, path), "E006"});
    }
  }

  void complain(const std::string &table, const std::string &shown, const std::string &name,
                const Node &node, bool is_table) {
    std::vector<std::string> candidates;
    const auto keys = impl_.known.find(table);
    if (keys != impl_.known.end() && !is_table)
      candidates.assign(keys->second.begin(), keys->second.end());
    for (const std::string &known : tables_) {
      if (!table.empty() && !starts_below(known, table)) continue;
      const std::string rest = known.substr(table.empty() ? 0 : table.size() + 1);
      candidates.push_back(rest.substr(0, rest.find('.')));
    }
    const std::string near = base::text::nearest(name, candidates);
    const std::string known_as = is_table        ? "a table of this deck"
                                 : table.empty() ? "a table; keys stand below a [table]"
                                                 : fmt::format("a key of [{}]", table);
    found_.push_back({&node, show_key(shown, name, node),
                      fmt::format("{} is not {}{}", shorten(name), known_as,
                                  near.empty() ? "." : fmt::format("; did you mean {}?", near))});
  }

  const Deck::Impl &impl_;
  std::set<std::string> tables_;
  std::vector<Complaint> found_;
};

} // namespace

void Deck::finish() const {
  std::vector<Complaint> found = Finder(*impl_).find();
  // A checkpoint of an earlier version may hold keys that are gone; they are named, not refused.
  for (const Complaint &one : found)
    if (one.node->origin == Origin::restart)
      base::log::warn("{}: {}: {} Ignored.", one.node->where(), one.read, one.why);
  std::erase_if(found, [](const Complaint &one) { return one.node->origin == Origin::restart; });
  if (found.empty()) return;
  constexpr std::size_t kMost = 20;
  std::string advice = found[0].why;
  for (std::size_t i = 1; i < std::min(found.size(), kMost); ++i)
    advice += fmt::format("\n{}: {}: {}", found[i].node->where(), found[i].read, found[i].why);
  if (found.size() > kMost) advice += fmt::format("\nand {} more.", found.size() - kMost);
  throw base::UserError(base::Exit::deck, found[0].number, found[0].node->where(), found[0].read,
                        advice);
}

} // namespace deck

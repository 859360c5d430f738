// SPDX-License-Identifier: Apache-2.0
#include "deck/reference.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace deck {
namespace {

constexpr const char *kHead = R"(# Decks

This page is made by `hadal decks` from the declarations in the source; a test compares the two. Edit the declarations, not
this page.

A deck is a TOML file of tables. An unknown or repeated key is an error. A key is taken from the command line
(`table.key=value`), else from the deck, else from the checkpoint that the run restarts from, else it has its default; the
echo at the beginning of a run says which. Whole numbers may be texts with a suffix: k, M, G, T are powers of 1000, Ki,
Mi, Gi, Ti of 1024 (`"4Ki"`, `"14.8T"`). Durations are seconds or texts in s, m, h, d (`"6h"`).

`hadal run DECK --check` checks a deck without running it, `hadal run DECK --explain` prints its keys.
)";

// Text for a cell: a bar would end it.
std::string cell(const std::string &text) {
  std::string safe;
  for (const char c : text) {
    if (c == '|') safe += '\\';
    safe += c == '\n' ? ' ' : c;
  }
  return safe;
}

std::string code(const std::string &text) { return text.empty() ? "" : fmt::format("`{}`", text); }

std::string allowed(const KeyInfo &key) {
  if (key.type == "choice") return cell(key.range);
  std::string text = key.type;
  if (!key.range.empty()) text += ", " + key.range;
  return cell(text);
}

} // namespace

std::string reference(const Tables &tables, const std::vector<std::string> &lists) {
  std::string text = kHead;
  for (const auto &[table, keys] : tables) {
    const bool list = std::find(lists.begin(), lists.end(), table) != lists.end();
    text += fmt::format("\n## {}[{}]{}\n\n", list ? "[" : "", table, list ? "]" : "");
    text += "| key | default | allowed | unit | meaning |\n|---|---|---|---|---|\n";
    for (const KeyInfo &key : keys)
      text += fmt::format("| `{}` | {} | {} | {} | {} |\n", key.name,
                          key.fallback == "required" ? "required" : cell(code(key.fallback)),
                          allowed(key), cell(key.unit), cell(key.help));
  }
  return text;
}

} // namespace deck

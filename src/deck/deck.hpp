// SPDX-License-Identifier: Apache-2.0
#pragma once
// Input decks: TOML with every key declared once. An options struct declares its keys in one
// template,
//
//   struct BatchOptions {
//     std::int64_t sequence, micro_batch;
//     template <class R> void keys(R &r) {
//       r.key(sequence, "sequence", 4096, 16, 1 << 20, "tokens", "tokens in one packed sequence");
//       r.key(micro_batch, "micro_batch", 1, 1, 1 << 12, "sequences",
//             "sequences in one forward pass on one rank");
//     }
//   };
//
// and parsing, range check, --explain, the generated reference (docs/decks.md) and the echo come
// from that line. Unknown or repeated keys are errors with file:line and the nearest known key.
// Precedence: command line > deck > restart > default; the echo says which won. Suffixed values are
// strings ("4Ki", "14.8T", "6h").
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace deck {

enum class Origin { fallback, restart, file, command_line };

// One declared key, as --explain and docs/decks.md show it.
struct KeyInfo {
  std::string table, name, type, fallback, range, unit, help;
};

// One resolved value, as the echo shows it.
struct Resolved {
  std::string table, name, value; // value in TOML syntax
  Origin origin = Origin::fallback;
  std::string where; // "file:line" or "command line" or ""
  int index = -1;    // place in an array of tables, or -1
};

struct Node;

class Reader;

// A parsed deck with overrides. Errors E001 (cannot be read), E002 (not TOML, with line), E003
// (repeated key), E004 (malformed override), E005 (unknown table or key), E006 (wrong type), E007
// (out of range), E008 (not one of the choices), E009 (missing).
class Deck {
public:
  struct Impl; // private to this room
  // overrides: "table.key=value"; the value is TOML, or a bare word taken as a string.
  static Deck read(const std::string &path, const std::vector<std::string> &overrides = {});
  static Deck parse(std::string_view text, const std::string &name,
                    const std::vector<std::string> &overrides = {});
  Deck(Deck &&) noexcept;
  Deck &operator=(Deck &&) noexcept;
  ~Deck();

  // Fills keys that neither the file nor an override gives from a resolved deck, that of a
  // checkpoint; before any table is read.
  void add_restart(std::string_view text, const std::string &name);

  const std::string &path() const;
  // Is it present in the file, an override or the restart? Tables of [[lists]] are named
  // "data.source.0".
  bool has(std::string_view table) const;
  bool has(std::string_view table, std::string_view key) const;
  std::string
  where(std::string_view table,
        std::string_view key) const; // "file:line" of the key (or of the table, or the file)

  // Reads [table] (dotted names for nested tables: "data.split") into options; may be called again
  // for the same table.
  template <class Options> void read_table(const std::string &table, Options &options);
  // Reads [[table]] (array of tables) into a vector.
  template <class Options> std::vector<Options> read_list(const std::string &table);
  // Marks a table as known without reading it.
  void ignore_table(const std::string &table);
  // After all tables were read: complains of every unknown table and key (E005) with the nearest
  // known name.
  void finish() const;

  // Fails with a deck error at a key: for checks between keys. advice says what is allowed.
  [[noreturn]] void fail(std::string_view table, std::string_view key, std::string_view number,
                         std::string_view advice) const;

  // Makes keys known to finish() and declared() that are not read here: those of tables that this
  // deck leaves out, or that another command reads.
  void note_declared(const std::vector<KeyInfo> &keys);
  const std::vector<KeyInfo> &declared() const;
  const std::vector<Resolved> &resolved() const;
  std::string echo() const;          // aligned text: key, value, who won
  std::string resolved_toml() const; // a deck that gives the same run
  std::string explain() const;       // every key of the tables read: default, range, unit, help

private:
  friend class Reader;
  friend int list_size(const Deck &deck, const std::string &table);
  explicit Deck(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Collects declarations without a deck: for docs/decks.md and for defaults.
class Reader {
public:
  Reader(Deck *deck, std::string table, int list_index = -1,
         std::vector<KeyInfo> *only_declare = nullptr);

  void key(std::int64_t &out, const char *name, std::int64_t fallback, std::int64_t low,
           std::int64_t high, const char *unit, const char *help);
  void key(double &out, const char *name, double fallback, double low, double high,
           const char *unit, const char *help);
  void key(bool &out, const char *name, bool fallback, const char *help);
  void key(std::string &out, const char *name, const char *fallback, const char *help); // any text
  void key(std::vector<std::string> &out, const char *name,
           const char *help); // list of strings, default empty
  void key(std::vector<double> &out, const char *name, std::vector<double> fallback, double low,
           double high, const char *unit, const char *help);
  void key(std::vector<std::int64_t> &out, const char *name, std::vector<std::int64_t> fallback,
           std::int64_t low, std::int64_t high, const char *unit, const char *help);
  // Seconds, from "6h", "90s" or a number.
  void duration(double &out, const char *name, double fallback, double low, double high,
                const char *help);
  // No default: error E009 when missing.
  void required(std::string &out, const char *name, const char *help);
  void required(std::vector<std::string> &out, const char *name, const char *help);
  // One of named values.
  template <class Enum>
  void choice(Enum &out, const char *name, Enum fallback,
              const std::vector<std::pair<std::string, Enum>> &choices, const char *help) {
    std::vector<std::string> names;
    std::size_t index = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      names.push_back(choices[i].first);
      if (choices[i].second == fallback) index = i;
    }
    out = choices[choose(name, index, names, help)].second;
  }

private:
  std::size_t choose(const char *name, std::size_t fallback, const std::vector<std::string> &names,
                     const char *help);
  const Node *find(const char *name, const KeyInfo &info);
  void keep(const KeyInfo &info, const Node *node, const std::string &value);
  [[noreturn]] void refuse(const char *name, const Node &node, const char *number,
                           const std::string &why) const;
  double number(const char *name, const Node &node, double low, double high,
                const std::string &unit) const;
  std::int64_t whole(const char *name, const Node &node, std::int64_t low, std::int64_t high,
                     const std::string &unit) const;
  std::string text(const char *name, const Node &node) const;
  std::vector<std::string> texts(const char *name, const Node &node) const;
  void missing(const char *name, const char *help) const;
  Deck *deck_;
  std::string table_;
  int list_index_;
  std::vector<KeyInfo> *only_declare_;
};

// The declared keys of an options struct, without a deck.
template <class Options> std::vector<KeyInfo> declare(const std::string &table) {
  std::vector<KeyInfo> keys;
  Reader reader(nullptr, table, -1, &keys);
  Options options;
  options.keys(reader);
  return keys;
}

// An options struct at its defaults.
template <class Options> Options defaults() {
  std::vector<KeyInfo> keys;
  Reader reader(nullptr, "", -1, &keys);
  Options options;
  options.keys(reader);
  return options;
}

template <class Options> void Deck::read_table(const std::string &table, Options &options) {
  Reader reader(this, table);
  options.keys(reader);
}

int list_size(const Deck &deck, const std::string &table);

template <class Options> std::vector<Options> Deck::read_list(const std::string &table) {
  std::vector<Options> list(static_cast<std::size_t>(list_size(*this, table)));
  for (std::size_t i = 0; i < list.size(); ++i) {
    Reader reader(this, table, static_cast<int>(i));
    list[i].keys(reader);
  }
  if (list.empty()) {
    ignore_table(table);
    note_declared(declare<Options>(table));
  }
  return list;
}

} // namespace deck

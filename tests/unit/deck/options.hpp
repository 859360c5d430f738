// SPDX-License-Identifier: Apache-2.0
#pragma once
// Options structs and helpers of the deck tests.
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "deck/deck.hpp"

namespace deck_test {

enum class Mode { fast, exact };

struct RunOptions {
  std::string name, directory;
  std::vector<std::string> tags;
  double limit;
  bool check;
  Mode mode;
  template <class R> void keys(R &r) {
    r.required(name, "name", "name of the run");
    r.key(directory, "directory", "checkpoints", "where results go");
    r.key(tags, "tags", "words for the log");
    r.duration(limit, "limit", 3600, 0, 1e6, "stop after this time");
    r.key(check, "check", true, "look before running");
    r.choice(mode, "mode", Mode::exact, {{"fast", Mode::fast}, {"exact", Mode::exact}}, "how");
  }
};

struct BatchOptions {
  std::int64_t sequence, micro_batch, seed;
  double rate;
  std::vector<double> betas;
  std::vector<std::int64_t> stages;
  template <class R> void keys(R &r) {
    r.key(sequence, "sequence", 4096, 16, 1 << 20, "tokens", "tokens in one packed sequence");
    r.key(micro_batch, "micro_batch", 1, 1, 4096, "sequences", "sequences in one pass");
    r.key(seed, "seed", 0, std::numeric_limits<std::int64_t>::min(),
          std::numeric_limits<std::int64_t>::max(), "", "seed");
    r.key(rate, "rate", 0.1, -1.0, 1.0, "", "some rate");
    r.key(betas, "betas", {0.9, 0.95}, 0.0, 1.0, "", "decays");
    r.key(stages, "stages", {2, 3}, 0, 4096, "layers", "layers of each stage");
  }
};

struct SourceOptions {
  std::string path;
  double weight;
  template <class R> void keys(R &r) {
    r.required(path, "path", "folder of text");
    r.key(weight, "weight", 1.0, 0.0, 1e9, "", "share of the samples");
  }
};

struct All {
  RunOptions run;
  BatchOptions batch;
  SourceOptions split;
  std::vector<SourceOptions> sources;
};

inline void read_all(deck::Deck &deck, All &all) {
  deck.read_table("run", all.run);
  deck.read_table("batch", all.batch);
  if (deck.has("data.split")) deck.read_table("data.split", all.split);
  deck.ignore_table("data.split");
  all.sources = deck.read_list<SourceOptions>("data.source");
  deck.finish();
}

using Overrides = std::vector<std::string>;

// The error that reading this deck gives, as "E007 text"; "" when it is read without one.
inline std::string error_of(std::string_view text, const Overrides &overrides = {}) {
  try {
    deck::Deck deck = deck::Deck::parse(text, "a.toml", overrides);
    All all;
    read_all(deck, all);
  } catch (const base::UserError &error) {
    EXPECT_EQ(error.code(), base::Exit::deck);
    return error.number() + " " + error.what();
  }
  return "";
}

inline All parsed(std::string_view text, const Overrides &overrides = {}) {
  deck::Deck deck = deck::Deck::parse(text, "a.toml", overrides);
  All all;
  read_all(deck, all);
  return all;
}

} // namespace deck_test

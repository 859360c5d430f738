// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "infer/options.hpp"

namespace {

infer::EngineOptions read(const std::string &text) {
  deck::Deck deck = deck::Deck::parse(text, "test");
  infer::EngineTable table;
  deck.read_table("infer", table);
  deck.finish();
  return infer::engine_options(deck, table, 300);
}

std::string number_of(const std::string &text) {
  try {
    read(text);
  } catch (const base::UserError &error) {
    return error.number();
  }
  return "none";
}

TEST(EngineOptions, FromADeck) {
  const auto o =
      read("[infer]\nattention = \"absorbed\"\nbatch = 16\nrows = 32\ncache = \"128Ki\"");
  EXPECT_EQ(o.attention, infer::Attention::absorbed);
  EXPECT_EQ(o.batch, 16);
  EXPECT_EQ(o.rows, 32);
  EXPECT_EQ(o.tokens, 131072);
  EXPECT_EQ(o.vocabulary, 300);
  EXPECT_FALSE(o.keeps_kv);
  EXPECT_TRUE(read("[infer]\nkeep_keys = true").keeps_kv);
  EXPECT_EQ(read("").attention, infer::Attention::exact);
}

TEST(EngineOptions, MistakesAreNamed) {
  EXPECT_EQ(number_of("[infer]\nbatch = 64\nrows = 63"), "E268");
  EXPECT_EQ(number_of("[infer]\nbatches = 64"), "E005");
  EXPECT_NE(number_of("[infer]\nattention = \"near\""), "none");
  EXPECT_NE(number_of("[infer]\ncache = 1"), "none");
}

} // namespace

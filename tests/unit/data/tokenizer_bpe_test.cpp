// SPDX-License-Identifier: Apache-2.0
// Merging of byte pairs against the definition, written out; added tokens; the cache of words.
#include <map>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "data/added_tokens.hpp"
#include "data/bpe.hpp"
#include "data/word_cache.hpp"

namespace {

using data::Token;

struct RandomMerges {
  std::array<Token, 256> bytes{};
  std::vector<data::Bpe::Rule> rules;
  std::map<std::pair<Token, Token>, std::pair<int, Token>> table;

  RandomMerges(std::mt19937 &random, int letters, int count) {
    std::iota(bytes.begin(), bytes.end(), 0);
    std::vector<Token> known;
    for (int i = 0; i < letters; ++i) known.push_back('a' + i);
    for (Token id = 256; static_cast<int>(rules.size()) < count; ++id) {
      const Token left = known[random() % known.size()], right = known[random() % known.size()];
      if (!table.emplace(std::pair(left, right), std::pair(static_cast<int>(rules.size()), id))
               .second)
        continue;
      rules.push_back({left, right, id});
      known.push_back(id);
    }
  }

  // The definition: the lowest rank, the leftmost, one at a time.
  std::vector<Token> merge(const std::string &text) const {
    std::vector<Token> ids(text.begin(), text.end());
    for (;;) {
      int best_rank = -1;
      std::size_t best = 0;
      Token merged = 0;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = table.find({ids[i], ids[i + 1]});
        if (found == table.end() || (best_rank >= 0 && found->second.first >= best_rank)) continue;
        best_rank = found->second.first;
        best = i;
        merged = found->second.second;
      }
      if (best_rank < 0) return ids;
      ids[best] = merged;
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }
};

TEST(Bpe, equals_the_definition_on_short_and_long_pieces) {
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    const int letters = 1 + static_cast<int>(random() % 4);
    const RandomMerges merges(random, letters, 1 + static_cast<int>(random() % 60));
    const data::Bpe bpe(merges.bytes, merges.rules);
    for (int i = 0; i < 60; ++i) {
      std::string text(1 + random() % (i % 3 == 0 ? 300 : 90), ' ');
      for (char &c : text) c = static_cast<char>('a' + random() % static_cast<unsigned>(letters));
      std::vector<Token> ids;
      bpe.encode(text, ids);
      ASSERT_EQ(ids, merges.merge(text)) << text;
    }
  }
}

TEST(Bpe, a_long_run_of_one_letter_is_cheap) {
  std::array<Token, 256> bytes{};
  std::iota(bytes.begin(), bytes.end(), 0);
  std::vector<data::Bpe::Rule> rules = {{'a', 'a', 256}};
  for (Token id = 256; id < 264; ++id) rules.push_back({id, id, id + 1}); // doubling
  const data::Bpe bpe(bytes, rules);
  std::vector<Token> ids;
  bpe.encode(std::string(1 << 20, 'a'), ids); // repeated search would take hours
  EXPECT_EQ(ids, std::vector<Token>(std::size_t{1} << 11, 264));
}

TEST(TextMatcher, leftmost_then_longest) {
  data::TextMatcher matcher;
  EXPECT_TRUE(matcher.empty());
  matcher.add("<a>", 1);
  matcher.add("<a>b", 2);
  matcher.add("a>bcd", 3);
  matcher.add("<ab", 4);
  data::TextMatcher::Match match;
  ASSERT_TRUE(matcher.find("x<a>bcd", 0, match));
  EXPECT_EQ(match.begin, 1u);
  EXPECT_EQ(match.end, 5u);
  EXPECT_EQ(match.id, 2);
  ASSERT_TRUE(matcher.find("<a<a>", 0, match)); // a false start
  EXPECT_EQ(match.begin, 2u);
  EXPECT_EQ(match.id, 1);
  ASSERT_TRUE(matcher.find("x<a>bcd", 2, match));
  EXPECT_EQ(match.id, 3);
  EXPECT_FALSE(matcher.find("x<a", 0, match));
}

TEST(WordCache, belongs_to_one_tokenizer_and_knows_pieces_by_all_their_bytes) {
  const std::vector<Token> three = {1, 2, 3};
  bool hit = true;
  data::WordCache::Slot &slot = data::WordCache::of(1'000'001).find("word", hit);
  EXPECT_FALSE(hit);
  data::WordCache::store(slot, "word", three);
  EXPECT_EQ(data::WordCache::of(1'000'001).find("word", hit).count, 3u);
  EXPECT_TRUE(hit);
  data::WordCache::of(1'000'001).find(std::string_view("word\0", 5),
                                      hit); // padding is not part of the word
  EXPECT_FALSE(hit);
  data::WordCache::of(1'000'002).find("word", hit);
  EXPECT_FALSE(hit);
  const std::string longest(data::WordCache::kMaxBytes, 'x');
  data::WordCache::store(data::WordCache::of(1'000'002).find(longest, hit), longest, three);
  data::WordCache::of(1'000'002).find(longest, hit);
  EXPECT_TRUE(hit);
  data::WordCache::of(1'000'002).find(longest.substr(1), hit);
  EXPECT_FALSE(hit);
}

} // namespace

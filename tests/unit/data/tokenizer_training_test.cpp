// SPDX-License-Identifier: Apache-2.0
// Training against the definition, the layout of the result, and decode(encode(x)) = x.
#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "data/json.hpp"
#include "data/splitter.hpp"
#include "data/tokenizer.hpp"
#include "data/unicode.hpp"

namespace {

using data::Token;

// Words of a small language: frequent ones, some with marks, digits, CJK and punctuation.
std::string sample_text(unsigned seed, int words) {
  static const char *stems[] = {"ab",  "aba", "banana", "cab", "naïve", "中文", "テスト",
                                "123", "...", "aaaa",   "\n",  "x_y",   "é"};
  std::mt19937 random(seed);
  std::string out;
  for (int i = 0; i < words; ++i) {
    if (random() % 2 == 0) {
      for (unsigned length = 1 + random() % 8; length > 0; --length)
        out += static_cast<char>('a' + random() % 3);
    } else {
      out += stems[random() % std::size(stems)];
    }
    if (random() % 3 == 0) out += stems[random() % std::size(stems)];
    if (random() % 4 != 0) out += ' ';
  }
  return out;
}

data::Tokenizer train(const std::vector<std::string> &texts, data::TokenizerTraining options) {
  data::TokenizerTrainer trainer(std::move(options));
  for (const std::string &text : texts) trainer.add(text);
  return trainer.finish();
}

// The definition: count all pairs afresh, take the most frequent (then the lowest ids), merge
// everywhere, repeat.
std::vector<std::pair<std::string, std::string>> merges_by_definition(const std::string &text,
                                                                      std::size_t count) {
  std::map<std::vector<std::string>, int> words; // as symbols
  std::map<std::string, int> id;                 // of a symbol
  std::vector<std::uint32_t> ends;
  data::deepseek_split(text, ends);
  std::size_t begin = 0;
  for (const std::uint32_t end : ends) {
    std::vector<std::string> symbols;
    for (; begin < end; ++begin) symbols.emplace_back(1, text[begin]);
    ++words[symbols];
  }
  // Ids of bytes follow the byte alphabet: 33-126, 161-172, 174-255, then the others.
  std::vector<int> order;
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  for (int b = 0; b < 256; ++b)
    if (printable(b)) order.push_back(b);
  for (int b = 0; b < 256; ++b)
    if (!printable(b)) order.push_back(b);
  for (const int b : order)
    id.emplace(std::string(1, static_cast<char>(b)), static_cast<int>(id.size()));

  std::vector<std::pair<std::string, std::string>> merges;
  while (merges.size() < count) {
    std::map<std::pair<int, int>, std::pair<int, std::pair<std::string, std::string>>> pairs;
    for (const auto &[symbols, times] : words) {
      for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
        auto &entry = pairs[{id.at(symbols[i]), id.at(symbols[i + 1])}];
        entry.first += times;
        entry.second = {symbols[i], symbols[i + 1]};
      }
    }
    int most = 1;
    std::pair<std::string, std::string> best;
    for (const auto &[ids, entry] : pairs) {
      if (entry.first > most) most = entry.first, best = entry.second;
    }
    if (most < 2) break;
    merges.push_back(best);
    id.emplace(best.first + best.second, static_cast<int>(id.size()));
    std::map<std::vector<std::string>, int> next;
    for (const auto &[symbols, times] : words) {
      std::vector<std::string> merged;
      for (std::size_t i = 0; i < symbols.size(); ++i) {
        const bool here =
            i + 1 < symbols.size() && symbols[i] == best.first && symbols[i + 1] == best.second;
        merged.push_back(here ? best.first + best.second : symbols[i]);
        if (here) ++i;
      }
      next[merged] += times;
    }
    words = std::move(next);
  }
  return merges;
}

TEST(TokenizerTraining, equals_the_definition) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const std::string text = sample_text(seed, 400);
    const auto expected = merges_by_definition(text, 120);
    data::TokenizerTraining options;
    std::set<std::string> strings;
    for (const auto &[left, right] : expected) strings.insert(left + right);
    options.vocabulary = static_cast<int>(274 + strings.size());
    const data::Tokenizer tokenizer = train({text}, options);
    const data::Json file = data::Json::parse(tokenizer.to_json());
    const auto &merges = *file.find("model")->find("merges")->as<data::Json::Array>();
    const auto &vocabulary = *file.find("model")->find("vocab")->as<data::Json::Object>();
    std::map<std::string, Token> ids;
    for (const auto &[word, value] : vocabulary)
      ids[word] = static_cast<Token>(*value.as<std::int64_t>());
    ASSERT_GE(expected.size(), 100u);
    ASSERT_LE(merges.size(),
              expected.size()); // equal but for two ways to one token at the very end
    for (std::size_t i = 0; i < merges.size(); ++i) {
      const std::string &pair = *merges[i].as<std::string>();
      const std::size_t space = pair.find(' ');
      ASSERT_EQ(tokenizer.token_bytes(ids.at(pair.substr(0, space))), expected[i].first) << i;
      ASSERT_EQ(tokenizer.token_bytes(ids.at(pair.substr(space + 1))), expected[i].second) << i;
    }
    EXPECT_EQ(tokenizer.size(), options.vocabulary);
  }
}

TEST(TokenizerTraining, layout_is_that_of_deepseek_v3) {
  data::TokenizerTraining options;
  options.vocabulary = 330;
  options.extra_added_tokens = {"<think>", "</think>"};
  const data::Tokenizer t = train({sample_text(1, 3000)}, options);
  EXPECT_EQ(t.size(), 330);
  EXPECT_EQ(t.bos(), 0);
  EXPECT_EQ(t.eos(), 1);
  EXPECT_EQ(t.id_of("<｜▁pad▁｜>"), 2);
  EXPECT_EQ(t.token_bytes(3), "!");
  EXPECT_EQ(t.token_bytes(258), "\xAD"); // the last of the byte alphabet
  EXPECT_EQ(t.fim_hole(), 313);
  EXPECT_EQ(t.fim_begin(), 314);
  EXPECT_EQ(t.fim_end(), 315);
  EXPECT_EQ(t.id_of("<｜User｜>"), 316);
  EXPECT_EQ(t.id_of("<｜Assistant｜>"), 317);
  EXPECT_EQ(t.id_of("<|EOT|>"), 318);
  EXPECT_EQ(t.id_of("<｜tool▁calls▁begin｜>"), 319);
  EXPECT_EQ(t.id_of("<｜tool▁sep｜>"), 327);
  EXPECT_EQ(t.id_of("<think>"), 328);
  EXPECT_EQ(t.id_of("</think>"), 329);
  EXPECT_TRUE(t.is_special(318));
  EXPECT_FALSE(t.is_special(316));
  EXPECT_EQ(t.encode("<｜User｜><think>a</think><｜end▁of▁sentence｜>", true).size(), 5u);
}

TEST(TokenizerTraining, depends_on_counts_alone) {
  data::TokenizerTraining options;
  options.vocabulary = 340;
  std::vector<std::string> texts;
  for (unsigned seed = 0; seed < 20; ++seed) texts.push_back(sample_text(seed, 200));
  const std::string first = train(texts, options).to_json();
  std::ranges::reverse(texts);
  EXPECT_EQ(train(texts, options).to_json(), first);
  EXPECT_EQ(data::Tokenizer::from_json(first, "again").to_json(), first);
}

TEST(TokenizerTraining, an_added_token_keeps_its_text_to_itself) {
  data::TokenizerTraining options;
  options.vocabulary = 300;
  options.extra_added_tokens = {"ban", "aa"};
  const data::Tokenizer t = train({sample_text(1, 3000)}, options);
  EXPECT_EQ(data::Tokenizer::from_json(t.to_json(), "again").to_json(), t.to_json());
  EXPECT_EQ(t.encode("ban", true), (std::vector<Token>{298}));
  EXPECT_GT(t.encode("aa", false).size(), 1u);
}

data::TokenizerTraining options(int vocabulary, int min_count = 2,
                                std::vector<std::string> extra = {}) {
  return {vocabulary, min_count, std::move(extra)};
}

TEST(TokenizerTraining, says_what_it_lacks) {
  const auto number = [](const auto &action) {
    try {
      action();
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.code(), base::Exit::data);
      return error.number();
    }
    return std::string("none");
  };
  EXPECT_EQ(number([] { train({"too little text"}, {}); }), "E103");
  EXPECT_EQ(number([] { train({}, {}); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(273)); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(274)); }), "none");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(300, 0)); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(300, 2, {"<|EOT|>"})); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(300, 2, {"xx", "xx"})); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(300, 2, {""})); }), "E103");
  EXPECT_EQ(number([] { data::TokenizerTrainer(options(300, 2, {"\xFF\xFF"})); }), "E103");
  EXPECT_EQ(number([] { train({"cut \xE4\xB8"}, {}); }), "E102");
}

TEST(Tokenizer, decode_undoes_encode_for_any_utf8) {
  data::TokenizerTraining options;
  options.vocabulary = 360;
  const data::Tokenizer t = train({sample_text(3, 4000)}, options);
  std::mt19937 random(11);
  const auto below = [&random](std::uint32_t n) {
    return static_cast<std::uint32_t>(random() % n);
  };
  const std::string whole[] = {std::string("\0", 1), "\r\n", "\r",     "\n",   " ",
                               "<｜User｜>",         "<｜",  "banana", "中文", "\u0301"};
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::uint32_t length = below(40); length > 0; --length) {
      const std::uint32_t bits = 7 + below(15);
      char32_t c = below(1u << bits);
      if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = 0x1F600;
      if (below(3) == 0)
        text += whole[below(std::size(whole))];
      else
        data::unicode::append_utf8(text, c);
    }
    ASSERT_EQ(t.decode(t.encode(text, false)), text);
    ASSERT_EQ(t.decode(t.encode(text, true)), text);
  }
}

TEST(Tokenizer, threads_share_it) {
  data::TokenizerTraining options;
  options.vocabulary = 340;
  const data::Tokenizer a = train({sample_text(3, 4000)}, options);
  options.vocabulary = 300;
  const data::Tokenizer b = train({sample_text(3, 4000)}, options);
  const std::string text = sample_text(9, 2000);
  const std::vector<Token> by_a = a.encode(text), by_b = b.encode(text);
  ASSERT_NE(by_a, by_b);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k)
        wrong += a.encode(text) != by_a || b.encode(text) != by_b; // the caches change hands
    });
  }
  for (std::thread &thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

} // namespace

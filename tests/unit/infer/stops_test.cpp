// SPDX-License-Identifier: Apache-2.0
// Stop strings across the borders of tokens, and pages that are shared.
#include <gtest/gtest.h>

#include "tests/unit/infer/engine.hpp"

namespace {

using namespace infer_test;
using infer::PagePool;
using infer::StopText;

std::string shown(StopText &stops, const std::vector<std::string> &pieces) {
  std::string text;
  for (const std::string &piece : pieces) text += stops.push(piece) + "|";
  return text;
}

TEST(Stops, NothingOfAStopStringIsShown) {
  StopText stops({"END", "\n\n"});
  EXPECT_EQ(shown(stops, {"a", "bE", "c", "E", "N", "x", "EN", "D", "y"}), "a|b|Ec|||ENx||||");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.rest(), "");
}

TEST(Stops, WhatWasHeldBackComesOutAtTheEnd) {
  StopText stops({"</answer>"});
  EXPECT_EQ(shown(stops, {"1 < 2 </ans", "we", "r"}), "1 < 2 |||");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.rest(), "</answer");
  EXPECT_EQ(stops.rest(), "");
}

TEST(Stops, TheFirstOfSeveral) {
  StopText stops({"world", "lo", "hello world"});
  EXPECT_EQ(shown(stops, {"hello world"}), "|"); // "hello world" begins first
  StopText repeated({"aab"});
  EXPECT_EQ(shown(repeated, {"a", "a", "a", "b"}), "||a||");
  EXPECT_TRUE(repeated.found());
}

// Against a search in the whole text, for every way to cut it.
TEST(Stops, AnyCutOfTheText) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::string text, out;
    for (std::uint64_t i = 0; i < 40; ++i) text += static_cast<char>('a' + chance(seed, i, 3));
    const std::vector<std::string> words = {"abca", "ccb", "aaaa"};
    StopText stops(words);
    std::size_t at = 0, end = std::string::npos;
    for (std::uint64_t i = 50; at < text.size() && !stops.found(); ++i) {
      const auto size = static_cast<std::size_t>(1 + chance(seed, i, 5));
      out += stops.push(text.substr(at, size)), at += size;
    }
    for (const auto &word : words) end = std::min(end, text.substr(0, at).find(word));
    if (!stops.found()) out += stops.rest();
    EXPECT_EQ(out, text.substr(0, end)) << seed;
    EXPECT_EQ(stops.found(), end != std::string::npos) << seed;
  }
}

data::Tokenizer byte_tokenizer() {
  data::TokenizerTraining training;
  training.vocabulary = 280;
  data::TokenizerTrainer trainer(training);
  trainer.add("the cat sat on the mat and the dog sat on the log, and then the cat ran");
  return trainer.finish();
}

TEST(Stops, TheEngineStopsThere) {
  const auto tokenizer = byte_tokenizer();
  arch::Dims dims = v3_dims();
  dims.vocabulary = 320;
  const Model<float> m(dims, 9);
  EngineOptions o = options(4, 64, 1024);
  o.vocabulary = tokenizer.size();
  EngineSession<float> session(m, o, &tokenizer);
  int ends = 0;
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Request r = random_request(dims, seed, 20);
    r.sampling.max_tokens = 40, r.sampling.temperature = 1.5, r.sampling.top_p = 1;
    r.samples = 2;
    for (auto &token : r.prompt) token %= o.vocabulary;
    const auto whole = session.run({r})[0].answers;
    std::string bytes;
    std::vector<std::size_t> behind; // bytes up to each token
    for (const auto token : whole[0].tokens)
      bytes += tokenizer.token_bytes(token), behind.push_back(bytes.size());
    // A stop string that begins inside token 10 and ends with token 12.
    const std::size_t begin = behind[10] - 1, size = behind[12] - begin;
    r.stop_strings = {bytes.substr(begin, size), std::string("never here\x01")};
    const auto stopped = session.run({r})[0].answers;
    const std::size_t found = bytes.find(r.stop_strings[0]);
    std::size_t token = 0;
    while (behind[token] < found + size) ++token;
    ASSERT_EQ(stopped[0].finish, Finish::stop_string) << seed;
    EXPECT_EQ(stopped[0].tokens,
              Tokens(whole[0].tokens.begin(),
                     whole[0].tokens.begin() + static_cast<std::ptrdiff_t>(token) + 1));
    infer::Utf8Stream characters;
    std::string expected = characters.push(bytes.substr(0, found));
    expected += characters.rest();
    EXPECT_EQ(stopped[0].text, expected) << seed;
    ends += stopped[1].finish == Finish::length ? 1 : 0;
    if (stopped[1].finish == Finish::length) {
      EXPECT_TRUE(same(stopped[1], whole[1])) << seed;
    }
  }
  EXPECT_GT(ends, 20); // the sample beside goes on
}

TEST(Pages, AreCounted) {
  PagePool pool(3);
  EXPECT_EQ(pool.take(), 0);
  EXPECT_EQ(pool.take(), 1);
  pool.share(0);
  EXPECT_EQ(pool.users(0), 2);
  pool.drop(0);
  EXPECT_EQ(pool.free(), 1);
  pool.drop(0);
  EXPECT_EQ(pool.free(), 2);
  EXPECT_EQ(pool.take(), 0); // the lowest
  EXPECT_EQ(pool.take(), 2);
  EXPECT_EQ(pool.free(), 0);
  EXPECT_ANY_THROW(pool.take());
  pool.drop(1);
  EXPECT_ANY_THROW(pool.drop(1));
  EXPECT_ANY_THROW(pool.share(1));
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// From logits to tokens, from bytes to characters.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "base/random.hpp"
#include "base/text.hpp"
#include "infer/generator.hpp"

namespace {

using infer::sample;
using infer::SamplingOptions;
using infer::Utf8Stream;

std::vector<float> random_logits(int n, std::uint64_t seed, double scale = 2) {
  std::vector<float> l;
  for (int i = 0; i < n; ++i)
    l.push_back(static_cast<float>(scale * base::random::normal(seed, base::random::Purpose::test,
                                                                0, static_cast<std::uint64_t>(i))));
  return l;
}

std::vector<double> probabilities(const std::vector<float> &logits, double temperature) {
  std::vector<double> p;
  for (const float l : logits) p.push_back(std::exp(l / temperature));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double &v : p) v /= sum;
  return p;
}

SamplingOptions options(double temperature, double top_p, std::uint64_t seed = 1) {
  SamplingOptions o;
  o.temperature = temperature, o.top_p = top_p, o.seed = seed;
  return o;
}

TEST(Sampling, TemperatureZeroTakesTheBestAndTiesGoDown) {
  EXPECT_EQ(sample(std::vector<float>{1, 5, 5, 2}, options(0, 0.9), 0, 4), 1);
  EXPECT_EQ(sample(std::vector<float>{-3, -1, -2}, options(0, 1.0), 7, 3), 1);
}

TEST(Sampling, RowsWithoutTokenAreNeverChosen) {
  const std::vector<float> logits = {0, 0, 0, 50, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(sample(logits, options(0, 1), 0, 3), 0);
  for (int i = 0; i < 200; ++i) EXPECT_LT(sample(logits, options(5, 1), i, 3), 3);
}

TEST(Sampling, FrequenciesAreTheProbabilities) {
  const auto logits = random_logits(9, 3, 1);
  const int draws = 40000;
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const auto p = probabilities(logits, temperature);
    std::vector<int> count(9);
    for (int i = 0; i < draws; ++i)
      ++count[static_cast<std::size_t>(sample(logits, options(temperature, 1), i, 9))];
    for (std::size_t t = 0; t < 9; ++t)
      EXPECT_NEAR(count[t] / double(draws), p[t], 4.5 * std::sqrt(p[t] * (1 - p[t]) / draws))
          << temperature << " " << t;
  }
}

// The definition, with a full sort.
std::set<data::Token> nucleus(const std::vector<float> &logits, double temperature, double top_p) {
  const auto p = probabilities(logits, temperature);
  std::vector<data::Token> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](data::Token a, data::Token b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  std::set<data::Token> kept;
  double sum = 0;
  for (const data::Token t : order) {
    if (!kept.empty() && sum >= top_p) break;
    kept.insert(t), sum += p[static_cast<std::size_t>(t)];
  }
  return kept;
}

TEST(Sampling, TopPKeepsTheFewestMostProbable) {
  for (const double top_p : {1e-9, 0.3, 0.5, 0.8, 0.95}) {
    const auto logits = random_logits(50, 11);
    const auto allowed = nucleus(logits, 1.5, top_p);
    std::set<data::Token> seen;
    for (int i = 0; i < 20000; ++i) seen.insert(sample(logits, options(1.5, top_p, 5), i, 50));
    for (const data::Token t : seen) EXPECT_TRUE(allowed.count(t)) << top_p << " " << t;
    if (allowed.size() <= 12) {
      EXPECT_EQ(seen, allowed) << top_p;
    } // all of them are likely enough to be seen
    EXPECT_TRUE(seen.count(
        *std::max_element(allowed.begin(), allowed.end(), [&](data::Token a, data::Token b) {
          return logits[static_cast<std::size_t>(a)] < logits[static_cast<std::size_t>(b)];
        })));
  }
  EXPECT_EQ(nucleus(random_logits(50, 11), 1.5, 1e-9).size(), 1U);
}

TEST(Sampling, AFunctionOfSeedAndPosition) {
  const auto logits = random_logits(200, 4);
  int other_seed = 0, other_position = 0;
  for (int i = 0; i < 100; ++i) {
    const auto token = sample(logits, options(1, 1, 9), i, 200);
    EXPECT_EQ(token, sample(logits, options(1, 1, 9), i, 200));
    other_seed += token != sample(logits, options(1, 1, 10), i, 200);
    other_position += token != sample(logits, options(1, 1, 9), i + 1, 200);
  }
  EXPECT_GT(other_seed, 50);
  EXPECT_GT(other_position, 50);
}

TEST(Sampling, LogitsThatAreNotFiniteAreRefused) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const double temperature : {0.0, 1.0}) {
      try {
        sample(std::vector<float>{0, bad, 1}, options(temperature, 0.9), 0, 3);
        ADD_FAILURE() << bad;
      } catch (const base::UserError &error) {
        EXPECT_EQ(error.number(), "E262");
        EXPECT_EQ(error.code(), base::Exit::numbers);
      }
    }
  }
}

TEST(Utf8, CharactersAreNeverCut) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x9F z\xE6\xB7\xB1\xE6\xB5\xB7";
  Utf8Stream stream;
  std::string out;
  for (const char c : text) {
    const std::string now = stream.push(std::string(1, c));
    EXPECT_TRUE(base::text::valid_utf8(now));
    out += now;
  }
  EXPECT_EQ(out, text);
  EXPECT_EQ(stream.rest(), "");
}

std::string through(std::string_view bytes, std::size_t piece) {
  Utf8Stream stream;
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += piece) out += stream.push(bytes.substr(i, piece));
  return out + stream.rest();
}

// Unicode 15, tables 3-8 to 3-11: what is replaced, by U+FFFD shown as '?'.
TEST(Utf8, BrokenBytesAreReplacedAsUnicodeAdvises) {
  const std::pair<std::string, std::string> cases[] = {
      {"\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64", "a???b?c??d"},
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "????????A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "????????A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
      {"abc\xE2\x82", "abc?"},
      {"\xF4\x8F\xBF\xBF\xF4\x90", "\xF4\x8F\xBF\xBF??"}};
  for (const auto &[bytes, shown] : cases) {
    std::string want;
    for (const char c : shown) want += c == '?' ? std::string("\xEF\xBF\xBD") : std::string(1, c);
    for (const std::size_t piece : {1, 2, 3, 100})
      EXPECT_EQ(through(bytes, piece), want) << shown << " in pieces of " << piece;
  }
}

TEST(Utf8, AnyBytesComeOutValidHoweverCut) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::string bytes;
    for (std::uint64_t i = 0; i < 40; ++i) {
      const auto r = base::random::bits(seed, base::random::Purpose::test, 1, i);
      bytes += static_cast<char>(
          r % 3 == 0 ? r >> 8 : 0x80 + (r >> 8) % 0x80); // many that continue, many that begin
    }
    const std::string whole = through(bytes, 100);
    EXPECT_TRUE(base::text::valid_utf8(whole));
    for (const std::size_t piece : {1, 2, 5}) EXPECT_EQ(through(bytes, piece), whole);
    if (base::text::valid_utf8(bytes)) {
      EXPECT_EQ(whole, bytes);
    }
  }
}

} // namespace

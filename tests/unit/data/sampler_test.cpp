// SPDX-License-Identifier: Apache-2.0
// The order of samples, fill-in-the-middle, masking, mixture, validation.
#include <algorithm>
#include <cmath>
#include <set>

#include "data/dataset.hpp"
#include "data/packing.hpp"
#include "data/sampler.hpp"
#include "data_support.hpp"

namespace {

using base::Exit;
using data::Cursor;
using data::Sample;
using data::Sampler;
using data::SamplerOptions;
using data::Token;
using namespace data::test;

class SamplerTest : public ::testing::Test {
protected:
  SamplerTest() : world_(40, 60) {
    for (int d = 0; d < 8; ++d)
      world_.folder.write("other/" + std::to_string(d),
                          made_up_text(900 + static_cast<std::uint64_t>(d), 300));
    world_.add_source("other", {(world_.folder / "other").string()});
    data::build(world_.request);
    options_.directory = world_.folder / "out";
    options_.seed = 11;
    options_.sequence = 32;
  }
  Sampler open() const { return Sampler(options_); }
  // All samples of one epoch of source 0 alone.
  std::vector<Sample> epoch(int number) {
    options_.weights = {1.0, 0.0};
    const Sampler sampler = open();
    Cursor cursor = sampler.start(), end = cursor;
    // The epoch's length is found from outside, by the count of epochs.
    while (sampler.epochs(cursor)[0] < number) sampler.skip(cursor, 1);
    std::vector<Sample> samples;
    for (end = cursor; sampler.epochs(end)[0] < number + 1;)
      samples.push_back(sampler.next(end, 1).at(0));
    return samples;
  }
  World world_;
  SamplerOptions options_;
};

// Pieces of an epoch laid end to end by matching a piece's last token and all tokens against the stream.
TEST_F(SamplerTest, AnEpochCoversEachTargetOnce) {
  const data::Dataset set(options_.directory);
  for (const double fim : {0.0, 0.5}) {
    options_.fim_rate = fim;
    for (int number = 0; number < 3; ++number) {
      const std::vector<Sample> samples = epoch(number);
      const data::PackingRules rules = data::packing_rules(set.tokenizer(), fim, "");
      const data::PackedStream stream(set.train(0), rules, {options_.seed, 0, number});
      ASSERT_EQ(static_cast<std::int64_t>(samples.size()),
                (stream.tokens() - 1) / options_.sequence);
      std::multiset<std::vector<Token>> expected, got;
      for (std::size_t i = 0; i < samples.size(); ++i) {
        std::vector<Token> piece(33);
        std::vector<std::int32_t> starts;
        stream.read(static_cast<std::int64_t>(i) * 32, 33, piece.data(), 0, starts);
        expected.insert(piece);
        got.insert(samples[i].tokens);
      }
      EXPECT_EQ(got, expected);
      int neighbours = 0; // pieces still followed by the piece that follows them in the text
      for (std::size_t i = 0; i + 1 < samples.size(); ++i) {
        std::vector<Token> both(65);
        std::vector<std::int32_t> starts;
        for (std::int64_t at = 0; at + 65 <= stream.tokens(); at += 32) {
          stream.read(at, 65, both.data(), 0, starts);
          neighbours += std::equal(both.begin(), both.begin() + 33, samples[i].tokens.begin()) &&
                        std::equal(both.begin() + 32, both.end(), samples[i + 1].tokens.begin());
        }
      }
      EXPECT_LT(neighbours, 10) << "of " << samples.size();
      EXPECT_GT(std::set(expected.begin(), expected.end()).size(), expected.size() * 9 / 10);
    }
  }
}

TEST_F(SamplerTest, TheStreamHoldsEveryDocumentOnceInShuffledOrder) {
  const data::Dataset set(options_.directory);
  const data::PackingRules rules = data::packing_rules(set.tokenizer(), 0.0, "");
  std::multiset<std::vector<Token>> expected;
  std::vector<std::vector<Token>> plain;
  for (std::int64_t d = 0; d < set.train(0).documents(); ++d) {
    std::vector<Token> tokens(static_cast<std::size_t>(set.train(0).length(d)));
    set.train(0).copy(d, 0, set.train(0).length(d), tokens.data());
    expected.insert(tokens);
    plain.push_back(tokens);
  }
  std::set<std::vector<std::vector<Token>>> orders;
  for (int number = 0; number < 4; ++number) {
    const data::PackedStream stream(set.train(0), rules, {5, 0, number});
    std::vector<Token> all(static_cast<std::size_t>(stream.tokens()));
    std::vector<std::int32_t> starts;
    stream.read(0, stream.tokens(), all.data(), 0, starts);
    std::vector<std::vector<Token>> documents(1);
    for (const Token token : all) {
      if (token == set.tokenizer().eos())
        documents.emplace_back();
      else
        documents.back().push_back(token);
    }
    EXPECT_TRUE(documents.back().empty()) << "the last document is closed too";
    documents.pop_back();
    EXPECT_EQ(documents.size(), starts.size());
    EXPECT_EQ(std::multiset(documents.begin(), documents.end()), expected);
    EXPECT_NE(documents, plain);
    orders.insert(documents);
  }
  EXPECT_EQ(orders.size(), 4U) << "each epoch has its own order";
}

TEST_F(SamplerTest, AnyPieceOfAStreamIsThatPieceOfTheWhole) {
  const data::Dataset set(options_.directory);
  const data::PackingRules rules = data::packing_rules(set.tokenizer(), 0.7, "");
  const data::PackedStream stream(set.train(0), rules, {5, 0, 2});
  EXPECT_EQ(stream.tokens(), data::stream_tokens(set.train(0), rules, {5, 0, 2}));
  std::vector<Token> all(static_cast<std::size_t>(stream.tokens()));
  std::vector<std::int32_t> starts;
  stream.read(0, stream.tokens(), all.data(), 0, starts);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto first = static_cast<std::int64_t>(draw(1, 2 * i, all.size()));
    const auto count =
        std::min(static_cast<std::int64_t>(draw(1, 2 * i + 1, 200)), stream.tokens() - first);
    std::vector<Token> piece(static_cast<std::size_t>(count));
    std::vector<std::int32_t> inside;
    stream.read(first, count, piece.data(), 100, inside);
    ASSERT_TRUE(std::equal(piece.begin(), piece.end(), all.begin() + first));
    for (const std::int32_t at : inside)
      ASSERT_TRUE(std::binary_search(starts.begin(), starts.end(), at - 100 + first));
  }
}

TEST_F(SamplerTest, FillInTheMiddleKeepsTheText) {
  const data::Dataset set(options_.directory);
  const data::Tokenizer &tokenizer = set.tokenizer();
  const data::PackingRules rules = data::packing_rules(tokenizer, 0.5, "");
  std::multiset<std::string> expected, got;
  for (std::int64_t d = 0; d < set.train(0).documents(); ++d) {
    std::vector<Token> tokens(static_cast<std::size_t>(set.train(0).length(d)));
    set.train(0).copy(d, 0, set.train(0).length(d), tokens.data());
    expected.insert(tokenizer.decode(tokens));
  }
  int rewritten = 0, documents = 0;
  for (int number = 0; number < 8; ++number) {
    const data::PackedStream stream(set.train(0), rules, {5, 0, number});
    std::vector<Token> all(static_cast<std::size_t>(stream.tokens()));
    std::vector<std::int32_t> starts;
    stream.read(0, stream.tokens(), all.data(), 0, starts);
    got.clear();
    starts.push_back(static_cast<std::int32_t>(all.size()));
    for (std::size_t d = 0; d + 1 < starts.size(); ++d) {
      const std::vector<Token> one(all.begin() + starts[d], all.begin() + starts[d + 1] - 1);
      ++documents;
      if (one.front() != *tokenizer.fim_begin()) {
        got.insert(tokenizer.decode(one));
        continue;
      }
      ++rewritten;
      const auto hole = std::find(one.begin(), one.end(), *tokenizer.fim_hole()),
                 end = std::find(one.begin(), one.end(), *tokenizer.fim_end());
      ASSERT_LT(hole, end);
      const std::string prefix = tokenizer.decode(std::vector<Token>(one.begin() + 1, hole));
      const std::string suffix = tokenizer.decode(std::vector<Token>(hole + 1, end));
      const std::string middle = tokenizer.decode(std::vector<Token>(end + 1, one.end()));
      // Each part is text by itself: encoding refuses what is not UTF-8.
      for (const std::string &part : {prefix, suffix, middle})
        ASSERT_NO_THROW(tokenizer.encode(part));
      got.insert(prefix + middle + suffix);
    }
    EXPECT_EQ(got, expected);
  }
  EXPECT_NEAR(static_cast<double>(rewritten) / documents, 0.5, 0.12);
}

TEST_F(SamplerTest, OrderIsAFunctionOfTheIndex) {
  options_.fim_rate = 0.3;
  const Sampler sampler = open(), other = open();
  Cursor all = sampler.start();
  const std::vector<Sample> samples = sampler.next(all, 300);
  EXPECT_EQ(all.next_sample, 300);
  // Any cutting into calls, restarts included.
  Cursor pieces = other.start();
  std::vector<Sample> joined;
  for (std::int64_t i = 0; i < 300; i += 7)
    for (Sample &sample : other.next(pieces, std::min<std::int64_t>(7, 300 - i)))
      joined.push_back(std::move(sample));
  EXPECT_EQ(joined, samples);
  EXPECT_EQ(pieces, all);
  // Ranks that each read their own: skip, read, skip.
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    Cursor cursor = sampler.start();
    for (std::int64_t step = 0; step < 10; ++step) {
      sampler.skip(cursor, rank * 10);
      const std::vector<Sample> mine = sampler.next(cursor, 10);
      for (std::size_t i = 0; i < 10; ++i)
        ASSERT_EQ(mine[i], samples[static_cast<std::size_t>(step * 30 + rank * 10) + i]);
      sampler.skip(cursor, (2 - rank) * 10);
    }
    EXPECT_EQ(cursor, all);
  }
  options_.seed = 12;
  const Sampler third = open();
  Cursor cursor = third.start();
  EXPECT_NE(third.next(cursor, 50), std::vector<Sample>(samples.begin(), samples.begin() + 50));
}

TEST_F(SamplerTest, WeightsChooseTheSources) {
  options_.weights = {3.0, 1.0};
  const Sampler sampler = open();
  Cursor cursor = sampler.start();
  sampler.skip(cursor, 40000);
  EXPECT_NEAR(static_cast<double>(cursor.source_samples[0]), 30000, 4 * 87);
  EXPECT_EQ(cursor.source_samples[0] + cursor.source_samples[1], 40000);
  const std::vector<double> epochs = sampler.epochs(cursor);
  EXPECT_NEAR(epochs[0] * static_cast<double>(sampler.tokens(0)) / 32.0, 30000, 1000);
  options_.weights = {0.0, 1.0};
  const Sampler second = open();
  cursor = second.start();
  for (const Sample &sample : second.next(cursor, 100)) EXPECT_EQ(sample.source, 1);
}

TEST_F(SamplerTest, AMixtureLeavesEachSourceItsOwnOrder) {
  options_.fim_rate = 0.3;
  std::vector<Sample> alone[2], mixed[2];
  for (const int s : {0, 1}) {
    options_.weights = {s == 0 ? 1.0 : 0.0, s == 1 ? 1.0 : 0.0};
    const Sampler sampler = open();
    Cursor cursor = sampler.start();
    alone[s] = sampler.next(cursor, 600);
  }
  // The weights change in the middle: nothing is lost or read twice for it.
  options_.weights = {3.0, 1.0};
  const Sampler before = open();
  options_.weights = {1.0, 2.0};
  const Sampler after = open();
  Cursor cursor = before.start();
  for (const Sampler *sampler : {&before, &after})
    for (Sample &sample : sampler->next(cursor, 400))
      mixed[sample.source].push_back(std::move(sample));
  for (const int s : {0, 1}) {
    EXPECT_GT(mixed[s].size(), 150U);
    ASSERT_LE(mixed[s].size(), alone[s].size());
    EXPECT_TRUE(std::equal(mixed[s].begin(), mixed[s].end(), alone[s].begin())) << "source " << s;
  }
}

TEST_F(SamplerTest, MasksBeginWhereDocumentsDo) {
  options_.mask_documents = true;
  const Sampler sampler = open();
  const Token eos = sampler.tokenizer().eos();
  const auto expect_segments = [&](const Sample &sample) {
    std::vector<std::int32_t> expected{0};
    for (std::size_t i = 1; i < sample.tokens.size(); ++i)
      if (sample.tokens[i - 1] == eos) expected.push_back(static_cast<std::int32_t>(i));
    EXPECT_EQ(sample.segments, expected);
    return expected.size() > 1;
  };
  Cursor cursor = sampler.start();
  int several = 0;
  for (const Sample &sample : sampler.next(cursor, 200)) several += expect_segments(sample);
  for (std::int64_t i = 0; i < sampler.validation_samples(); ++i)
    several += expect_segments(sampler.validation(i));
  EXPECT_GT(several, 20);
  options_.mask_documents = false;
  const Sampler open_sampler = open();
  cursor = open_sampler.start();
  for (const Sample &sample : open_sampler.next(cursor, 50))
    EXPECT_EQ(sample.segments, std::vector<std::int32_t>{0});
}

TEST_F(SamplerTest, ValidationCoversTheHeldOutTextOnce) {
  options_.fim_rate = 1.0; // never applied there
  const Sampler sampler = open();
  const data::Dataset set(options_.directory);
  std::vector<Token> all;
  std::vector<std::int32_t> source_of;
  for (int s = 0; s < 2; ++s)
    for (std::int64_t d = 0; d < set.validation(s).documents(); ++d) {
      std::vector<Token> tokens(static_cast<std::size_t>(set.validation(s).length(d)));
      set.validation(s).copy(d, 0, set.validation(s).length(d), tokens.data());
      all.insert(all.end(), tokens.begin(), tokens.end());
      all.push_back(set.tokenizer().eos());
      source_of.resize(all.size(), s);
    }
  const auto samples = static_cast<std::int64_t>(all.size() - 1) / 32;
  ASSERT_GT(samples, 5);
  ASSERT_EQ(sampler.validation_samples(), samples);
  EXPECT_EQ(sampler.validation_tokens(), samples * 32);
  std::int64_t bytes = 0;
  for (std::int64_t i = 0; i < samples; ++i) {
    const Sample sample = sampler.validation(i);
    ASSERT_TRUE(std::equal(sample.tokens.begin(), sample.tokens.end(), all.begin() + i * 32)) << i;
    EXPECT_EQ(sample.source, source_of[static_cast<std::size_t>(i * 32 + 1)]);
    EXPECT_EQ(sampler.validation_bytes(i), bytes);
    for (std::size_t t = 1; t <= 32; ++t)
      if (sample.tokens[t] != set.tokenizer().eos())
        bytes += static_cast<std::int64_t>(set.tokenizer().token_bytes(sample.tokens[t]).size());
  }
  EXPECT_EQ(sampler.validation_bytes(), bytes);
}

TEST_F(SamplerTest, NothingHeldOutGivesNoValidation) {
  World world(3);
  world.request.options.validation = 0.0;
  data::build(world.request);
  options_.directory = world.folder / "out";
  const Sampler sampler = open();
  EXPECT_EQ(sampler.validation_samples(), 0);
  EXPECT_EQ(sampler.validation_bytes(), 0);
}

TEST_F(SamplerTest, WrongUseIsNamed) {
  const auto fault = [&](auto change) {
    SamplerOptions options = options_;
    change(options);
    return error_of([&] { Sampler sampler(options); });
  };
  expect_error(fault([](SamplerOptions &o) { o.directory = "/nowhere"; }), Exit::data, "E119",
               {"/nowhere"});
  expect_error(fault([](SamplerOptions &o) { o.sequence = 1000000; }), Exit::data, "E124",
               {"\"prose\"", "1000000", "batch.sequence"});
  expect_error(fault([](SamplerOptions &o) { o.weights = {1.0}; }), Exit::data, "E125",
               {"1 weights for 2 sources"});
  expect_error(fault([](SamplerOptions &o) {
                 o.weights = {1.0, -0.5};
               }),
               Exit::data, "E125", {"-0.5", "\"other\""});
  expect_error(fault([](SamplerOptions &o) {
                 o.weights = {1.0, NAN};
               }),
               Exit::data, "E125", {"nan"});
  expect_error(fault([](SamplerOptions &o) {
                 o.weights = {0.0, 0.0};
               }),
               Exit::data, "E125", {"not positive"});
  const Sampler sampler = open();
  Cursor foreign{3, {1, 1, 1}}, torn{3, {1, 1}}, negative{0, {1, -1}};
  expect_error(error_of([&] { sampler.next(foreign, 1); }), Exit::data, "E126", {"3 sources"});
  expect_error(error_of([&] { sampler.skip(torn, 1); }), Exit::data, "E126", {"sample 3"});
  expect_error(error_of([&] { sampler.next(negative, 1); }), Exit::data, "E126", {});
}

} // namespace

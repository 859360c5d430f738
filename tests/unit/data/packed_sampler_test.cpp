// SPDX-License-Identifier: Apache-2.0
// Conversations packed into samples: nothing is lost, cut or mixed; the order is a function of seed and index.
#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "conversation_support.hpp"
#include "data/bins.hpp"

namespace {

using data::Bins;
using data::ChatSampler;
using data::Cursor;
using data::Sample;
using data::Token;
using namespace data::test;

std::string many(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) lines += numbered(i);
  return lines;
}

std::vector<Sample> epoch(const ChatSampler &sampler, std::int64_t number) {
  Cursor cursor = sampler.start();
  sampler.skip(cursor, sampler.samples_of(number));
  return sampler.next(cursor, sampler.samples_of(number + 1) - sampler.samples_of(number));
}

// The conversation as the chat layout encodes it by itself.
std::vector<Token> alone(int number) {
  data::chat::Message user, assistant;
  user.content = "nu " + std::to_string(number);
  assistant.role = data::chat::Role::assistant;
  std::string answer = "ka";
  for (int i = 0; i <= number % 7; ++i) answer += " lomi" + std::to_string(number);
  assistant.content = answer;
  return data::chat::encode({user, assistant}, *chat_tokenizer(),
                            {data::chat::Form::corrected, false})
      .tokens;
}

TEST(Bins, EachItemOnceWithinTheCapacityAndNearlyFull) {
  std::vector<std::int32_t> lengths(5000), order(5000);
  for (std::size_t i = 0; i < lengths.size(); ++i)
    lengths[i] = 1 + static_cast<std::int32_t>(draw(3, i, 100));
  std::iota(order.begin(), order.end(), 0);
  const Bins bins = data::pack(order, lengths, 100, true);
  std::vector<std::int32_t> seen = bins.items;
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, order);
  const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  for (std::int64_t b = 0; b < bins.size(); ++b) {
    std::int64_t used = 0;
    for (const std::int32_t item : bins.bin(b)) used += lengths[static_cast<std::size_t>(item)];
    EXPECT_LE(used, 100);
    EXPECT_GT(used, 0);
  }
  EXPECT_LT(static_cast<double>(bins.size()), 1.05 * static_cast<double>(total) / 100.0);
  EXPECT_EQ(data::pack(order, lengths, 100, false).size(), 5000);
  EXPECT_EQ(data::pack({}, lengths, 100, true).size(), 0);
}

TEST(PackedSampler, EachConversationOnceAnEpochWholeAndByItself) {
  const ChatWorld world(many(120));
  const ChatSampler sampler = world.open();
  std::multiset<std::vector<Token>> expected;
  std::int64_t longest = 0;
  for (int i = 0; i < 120; ++i) {
    expected.insert(alone(i));
    longest = std::max(longest, static_cast<std::int64_t>(alone(i).size()));
  }
  ASSERT_LE(longest, world.sequence + 1);
  const Token eos = chat_tokenizer()->eos();
  for (std::int64_t e = 0; e < 3; ++e) {
    std::multiset<std::vector<Token>> found;
    for (const Sample &sample : epoch(sampler, e)) {
      ASSERT_EQ(sample.tokens.size(), 65u);
      ASSERT_EQ(sample.trained.size(), 65u);
      EXPECT_EQ(sample.segments.front(), 0);
      EXPECT_TRUE(
          std::is_sorted(sample.segments.begin(), sample.segments.end(), std::less_equal<>()));
      EXPECT_EQ(sample.pairs, 0);
      const auto parts = parts_of(sample);
      for (std::size_t p = 0; p < parts.size(); ++p) {
        if (parts[p].any()) {
          EXPECT_EQ(parts[p].tokens.back(), eos);
          found.insert(parts[p].tokens);
        } else { // padding: one kind of token, at the end only
          EXPECT_EQ(p + 1, parts.size());
          EXPECT_EQ(std::set<Token>(parts[p].tokens.begin(), parts[p].tokens.end()),
                    std::set<Token>{*chat_tokenizer()->id_of("<｜▁pad▁｜>")});
        }
      }
    }
    EXPECT_EQ(found, expected) << "epoch " << e;
  }
}

TEST(PackedSampler, OrderIsAFunctionOfSeedAndIndex) {
  ChatWorld world(many(90));
  const ChatSampler sampler = world.open(), again = world.open();
  const std::int64_t count = sampler.samples_of(3);
  Cursor cursor = sampler.start();
  const std::vector<Sample> all = sampler.next(cursor, count);
  EXPECT_EQ(cursor.next_sample, count);
  // From any place, by skipping, in an object that has read nothing before it; in pieces.
  for (const std::int64_t at : {count - 1, std::int64_t{0}, count / 2, sampler.samples_of(1),
                                sampler.samples_of(1) - 1, std::int64_t{3}}) {
    Cursor other = again.start();
    again.skip(other, at);
    for (std::int64_t i = at; i < std::min(at + 3, count); ++i)
      EXPECT_EQ(again.next(other, 1).at(0), all[static_cast<std::size_t>(i)]) << i;
    EXPECT_EQ(other.source_samples, std::vector<std::int64_t>{other.next_sample});
  }
  // Not the order alone: what lies together differs too.
  const auto contents = [](const ChatSampler &of, std::int64_t number) {
    std::vector<std::vector<Token>> all;
    for (const Sample &sample : epoch(of, number)) all.push_back(sample.tokens);
    std::sort(all.begin(), all.end());
    return all;
  };
  EXPECT_EQ(contents(sampler, 0), contents(again, 0));
  EXPECT_NE(contents(sampler, 0), contents(sampler, 1));
  EXPECT_EQ(sampler.content_hash(), again.content_hash());
  world.seed = 6;
  EXPECT_NE(contents(world.open(), 0), contents(sampler, 0));
}

TEST(PackedSampler, EpochsAreCounted) {
  const ChatWorld world(many(50));
  const ChatSampler sampler = world.open();
  Cursor cursor = sampler.start();
  EXPECT_EQ(sampler.epochs(cursor), std::vector<double>{0.0});
  sampler.skip(cursor, sampler.samples_of(2));
  EXPECT_DOUBLE_EQ(sampler.epochs(cursor)[0], 2.0);
  cursor = sampler.start();
  sampler.next(cursor, 1);
  EXPECT_DOUBLE_EQ(sampler.epochs(cursor)[0], 1.0 / static_cast<double>(sampler.samples_of(1)));
  EXPECT_EQ(sampler.source_names().size(), 1u);
  std::int64_t tokens = 0;
  for (int i = 0; i < 50; ++i) tokens += static_cast<std::int64_t>(alone(i).size());
  EXPECT_EQ(sampler.tokens(0), tokens);
  EXPECT_EQ(sampler.fill(0).tokens, tokens);
  EXPECT_EQ(sampler.fill(0).room, sampler.samples_of(1) * 65);
}

TEST(PackedSampler, TheCursorOfOtherDataIsRefused) {
  const ChatWorld world(many(5));
  const ChatSampler sampler = world.open();
  for (Cursor cursor : {Cursor{3, {1, 2}}, Cursor{3, {2}}, Cursor{-1, {-1}}, Cursor{0, {}}})
    expect_error(error_of([&] { sampler.next(cursor, 1); }), base::Exit::data, "E126", {});
}

TEST(PackedSampler, RepeatedAndUnreadSources) {
  ChatWorld world(many(10));
  std::string others;
  for (int i = 100; i < 104; ++i) others += numbered(i);
  world.options.sources.push_back(source_at("more", world.folder.write("more.jsonl", others)));
  world.options.sources[0].repeat = 3;
  const auto counts = [&] {
    std::map<std::vector<Token>, int> counts;
    for (const Sample &sample : epoch(world.open(), 1))
      for (const Part &part : parts_of(sample))
        if (part.any()) ++counts[part.tokens];
    return counts;
  };
  const std::string before = world.open().content_hash();
  auto found = counts();
  EXPECT_EQ(found.size(), 14u);
  EXPECT_EQ(found[alone(4)], 3);
  EXPECT_EQ(found[alone(101)], 1);
  world.options.sources[1].repeat = 0;
  found = counts();
  EXPECT_EQ(found.size(), 10u);
  EXPECT_NE(world.open().content_hash(), before);
}

TEST(PackedSampler, WithoutPackingOneToASample) {
  ChatWorld world(many(20));
  world.options.packing = false;
  const ChatSampler sampler = world.open();
  EXPECT_EQ(sampler.samples_of(1), 20);
  for (const Sample &sample : epoch(sampler, 0)) EXPECT_EQ(sample.segments.size(), 2u);
}

TEST(PackedSampler, AConversationThatFillsTheSampleLeavesNoPadding) {
  ChatWorld world(numbered(3));
  const auto length = static_cast<std::int64_t>(alone(3).size());
  world.sequence = length - 1;
  Cursor cursor = world.open().start();
  const Sample full = world.open().next(cursor, 1).at(0);
  EXPECT_EQ(full.tokens, alone(3));
  EXPECT_EQ(full.segments, std::vector<std::int32_t>{0});
  world.sequence = length; // one token of padding: a segment that begins with `sequence`
  cursor = world.open().start();
  const Sample one = world.open().next(cursor, 1).at(0);
  EXPECT_EQ(one.segments, (std::vector<std::int32_t>{0, static_cast<std::int32_t>(length)}));
  EXPECT_EQ(one.trained.back(), 0);
}

TEST(PackedSampler, HeldOutByQuestionInFixedOrder) {
  ChatWorld world(many(300));
  world.options.validation = 0.3;
  const ChatSampler sampler = world.open();
  const auto &report = sampler.conversations().sources.at(0);
  EXPECT_EQ(report.train + report.validation, 300);
  EXPECT_GT(report.validation, 50);
  EXPECT_LT(report.validation, 130);
  std::multiset<std::vector<Token>> held, read;
  std::int64_t bytes = 0;
  for (std::int64_t i = 0; i < sampler.validation_samples(); ++i) {
    const Sample sample = sampler.validation(i);
    for (const Part &part : parts_of(sample)) {
      if (!part.any()) continue;
      held.insert(part.tokens);
      for (std::size_t t = 0; t < part.tokens.size(); ++t)
        if (part.trained[t] != 0 && part.tokens[t] != chat_tokenizer()->eos())
          bytes += static_cast<std::int64_t>(chat_tokenizer()->token_bytes(part.tokens[t]).size());
    }
    EXPECT_EQ(sampler.validation_bytes(i + 1), bytes);
  }
  for (const Sample &sample : epoch(sampler, 0))
    for (const Part &part : parts_of(sample))
      if (part.any()) read.insert(part.tokens);
  std::multiset<std::vector<Token>> all = held, expected;
  all.insert(read.begin(), read.end());
  for (int i = 0; i < 300; ++i) expected.insert(alone(i));
  EXPECT_EQ(all, expected);
  world.seed = 99;
  EXPECT_EQ(world.open().validation(0), sampler.validation(0));
  // Another answer, and a system message, to a question do not change its side.
  for (int i = 0; i < 20; ++i) {
    const std::string question = turn("user", "nu " + std::to_string(i));
    ChatWorld other(line({question, turn("assistant", "wa")}) +
                    line({turn("system", "mi"), question, turn("assistant", "qi")}) + numbered(1) +
                    numbered(2) + numbered(3) + numbered(4) + numbered(5));
    other.options.validation = 0.3;
    const ChatSampler both = other.open();
    int answers = 0;
    for (std::int64_t v = 0; v < both.validation_samples(); ++v)
      for (const Part &part : parts_of(both.validation(v))) {
        const std::string text = text_of(part.tokens);
        answers += text.ends_with("wa") || text.ends_with("qi") ? 1 : 0;
      }
    EXPECT_TRUE(answers == 0 || answers == 2) << i;
  }
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// Pairs of answers: two segments each, the score's place, refusals.
#include <map>

#include "conversation_support.hpp"

namespace {

using base::Exit;
using data::Cursor;
using data::PairSampler;
using data::Sample;
using data::Token;
using namespace data::test;

std::string pair_line(const std::string &prompt, const std::string &chosen,
                      const std::string &rejected) {
  return R"({"prompt":)" + prompt + R"(,"chosen":)" + chosen + R"(,"rejected":)" + rejected + "}\n";
}

struct PairWorld {
  TemporaryFolder folder;
  data::PairOptions options = deck::defaults<data::PairOptions>();
  std::int64_t sequence = 64;

  explicit PairWorld(const std::string &lines) {
    options.sources = {source_at("main", folder.write("p.jsonl", lines))};
    options.validation = 0.0;
  }
  PairSampler open() const { return PairSampler(options, chat_tokenizer(), sequence, 5); }
};

std::string many(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i);
    text += pair_line("\"Q" + n + "\"", "\"A" + n + "\"", "\"B" + n + " lo mi\"");
  }
  return text;
}

TEST(Pairs, ByHand) {
  PairWorld world(pair_line("\"Q\"", "\"A\"", "\"B\""));
  world.sequence = 15;
  const data::Tokenizer &t = *chat_tokenizer();
  const auto letter = [&](const char *text) { return t.encode(text).at(0); };
  const Token bos = t.bos(), eos = t.eos(), pad = *t.id_of("<｜▁pad▁｜>"),
              user = *t.id_of("<｜User｜>"), assistant = *t.id_of("<｜Assistant｜>");
  Cursor cursor = world.open().start();
  const Sample sample = world.open().next(cursor, 1).at(0);
  EXPECT_EQ(sample.pairs, 1);
  EXPECT_EQ(sample.segments, (std::vector<std::int32_t>{0, 6, 12}));
  EXPECT_EQ(sample.tokens,
            (std::vector<Token>{bos, user, letter("Q"), assistant, letter("A"), eos, bos, user,
                                letter("Q"), assistant, letter("B"), eos, pad, pad, pad, pad}));
  EXPECT_EQ(sample.trained,
            (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}));
}

TEST(Pairs, AlternateAndEndWithPaddingThatIsNoInputOfAScore) {
  PairWorld world(many(80));
  const PairSampler sampler = world.open();
  Cursor cursor = sampler.start();
  std::map<std::string, int> chosen, rejected;
  for (const Sample &sample : sampler.next(cursor, sampler.samples_of(1))) {
    const auto parts = parts_of(sample);
    ASSERT_EQ(parts.size(), static_cast<std::size_t>(2 * sample.pairs + 1));
    EXPECT_FALSE(parts.back().any());
    for (std::size_t p = 0; p + 1 < parts.size(); ++p) {
      EXPECT_EQ(std::count(parts[p].trained.begin(), parts[p].trained.end(), 1), 1);
      EXPECT_EQ(parts[p].trained.back(), 1);
      ++(p % 2 == 0 ? chosen : rejected)[text_of(parts[p].tokens)];
    }
    EXPECT_EQ(sample.trained.back(), 0); // the last token is no input
  }
  ASSERT_EQ(chosen.size(), 80u);
  for (int i = 0; i < 80; ++i) {
    const std::string n = std::to_string(i);
    EXPECT_EQ(chosen["Q" + n + "A" + n], 1);
    EXPECT_EQ(rejected["Q" + n + "B" + n + " lo mi"], 1);
  }
}

TEST(Pairs, TheLongestPairThatFits) {
  PairWorld world(pair_line("\"Q\"", "\"A\"", "\"B\"")); // 12 tokens
  world.sequence = 12;
  EXPECT_EQ(world.open().samples_of(1), 1);
  world.sequence = 11;
  expect_error(error_of([&] { world.open(); }), Exit::data, "E135", {"1 left out"});
  world.options.over_long = data::OverLong::stop;
  expect_error(error_of([&] { world.open(); }), Exit::data, "E137", {"p.jsonl:1", "12 tokens"});
}

TEST(Pairs, PromptsAndAnswersAsMessages) {
  const std::string list = "[" + turn("system", "S") + "," + turn("user", "Q") + "]";
  const std::string answer = "[" + turn("assistant", "A") + "]";
  PairWorld plain(pair_line(list, "\"A\"", "\"B\"")),
      listed(pair_line(list, answer, "[" + turn("assistant", "B") + "]")),
      named(R"({"messages":)" + list + R"(,"chosen":"A","rejected":"B","margin":1})" + "\n");
  EXPECT_EQ(plain.open().content_hash(), listed.open().content_hash());
  EXPECT_EQ(plain.open().content_hash(), named.open().content_hash());
  EXPECT_NE(plain.open().content_hash(), PairWorld(many(1)).open().content_hash());
}

TEST(Pairs, HeldOut) {
  PairWorld world(many(200));
  world.options.validation = 0.3;
  const PairSampler sampler = world.open();
  const auto &report = sampler.conversations().sources.at(0);
  EXPECT_EQ(report.train + report.validation, 200);
  std::int64_t pairs = 0;
  for (std::int64_t i = 0; i < sampler.validation_samples(); ++i)
    pairs += sampler.validation(i).pairs;
  EXPECT_EQ(pairs, report.validation);
  EXPECT_GT(pairs, 30);
}

TEST(Pairs, BadLinesAreNamed) {
  const std::string q = turn("user", "Q"), a = turn("assistant", "A");
  const std::vector<std::vector<std::string>> cases = {
      {"[]\n", "E138", "object"},
      {"{]\n", "E130"},
      {R"({"chosen":"A","rejected":"B"})"
       "\n",
       "E138", "prompt"},
      {R"({"prompt":"Q","messages":[],"chosen":"A","rejected":"B"})"
       "\n",
       "E138", "both"},
      {R"({"prompt":"Q","rejected":"B"})"
       "\n",
       "E138", "no \"chosen\""},
      {R"({"prompt":"Q","chosen":"A"})"
       "\n",
       "E138", "no \"rejected\""},
      {pair_line("\"Q\"", "\"A\"", "\"A\""), "E138", "equal"},
      {pair_line("\"Q\"", "3", "\"A\""), "E138", "chosen"},
      {pair_line("4", "\"A\"", "\"B\""), "E138", "prompt"},
      {pair_line("\"Q\"", "[]", "\"B\""), "E138", "empty list"},
      {pair_line("\"Q\"", "\"\"", "\"B\""), "E132", "chosen"},
      {pair_line("\"Q\"", "\"A\"", "[" + q + "]"), "E132", "rejected"},
      {pair_line("[" + q + "," + a + "]", "\"A\"", "\"B\""), "E132", "last turn"},
      {pair_line("[]", "\"A\"", "\"B\""), "E136"}};
  for (const auto &bad : cases) {
    PairWorld world(many(1) + bad[0] + many(1));
    std::vector<std::string> parts(bad.begin() + 2, bad.end());
    parts.push_back("p.jsonl:2");
    expect_error(error_of([&] { world.open(); }), Exit::data, bad[1], parts);
    world.options.on_bad = data::BadLine::skip;
    EXPECT_EQ(world.open().conversations().sources.at(0).bad, 1) << bad[0];
  }
}

TEST(Pairs, TheSamplesOfTheTreeCanBeUsed) {
  data::PairOptions options = deck::defaults<data::PairOptions>();
  options.sources = {source_at("tree", fs::path(HADAL_SOURCE_DIR) / "input/reward/samples")};
  const PairSampler sampler(options, chat_tokenizer(), 512, 1);
  EXPECT_EQ(sampler.conversations().sources.at(0).lines, 200);
  EXPECT_GT(sampler.validation_samples(), 0);
}

} // namespace

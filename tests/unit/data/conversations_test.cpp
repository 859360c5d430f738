// SPDX-License-Identifier: Apache-2.0
// What a line becomes: masks, pieces of what is too long, refusals.
#include "conversation_support.hpp"

namespace {

using base::Exit;
using data::BadLine;
using data::ChatSampler;
using data::Cursor;
using data::OverLong;
using data::Sample;
using data::Token;
using data::TrainOn;
using namespace data::test;

const std::string kOk = numbered(3);

Sample first(const data::PackedSampler &sampler) {
  Cursor cursor = sampler.start();
  return sampler.next(cursor, 1).at(0);
}

// Decoded text of what is trained on, the end of a sentence as $, anything between as |.
std::string trained_text(const Sample &sample) {
  std::string text;
  bool inside = false;
  for (std::size_t i = 0; i < sample.tokens.size(); ++i) {
    if (sample.trained[i] == 0) {
      inside = false;
      continue;
    }
    if (!inside && !text.empty()) text += "|";
    inside = true;
    const Token token = sample.tokens[i];
    text += token == chat_tokenizer()->eos() ? "$" : chat_tokenizer()->token_bytes(token);
  }
  return text;
}

TEST(Conversations, MarksByHand) {
  ChatWorld world(line({turn("system", "S"), turn("user", "Q"), turn("assistant", "A"),
                        turn("user", "R"), turn("assistant", "B")}));
  world.sequence = 19;
  const data::Tokenizer &t = *chat_tokenizer();
  const auto letter = [&](const char *text) { return t.encode(text).at(0); };
  const Token bos = t.bos(), eos = t.eos(), pad = *t.id_of("<｜▁pad▁｜>"),
              user = *t.id_of("<｜User｜>"), assistant = *t.id_of("<｜Assistant｜>");
  const Sample sample = first(world.open());
  EXPECT_EQ(
      sample.tokens,
      (std::vector<Token>{bos,  letter("S"), user,      letter("Q"), assistant, letter("A"), eos,
                          user, letter("R"), assistant, letter("B"), eos,       pad,         pad,
                          pad,  pad,         pad,       pad,         pad,       pad}));
  EXPECT_EQ(sample.segments, (std::vector<std::int32_t>{0, 12}));
  EXPECT_EQ(sample.trained, (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1, 1, 0, 0, 0,
                                                       1, 1, 0, 0, 0, 0, 0, 0, 0, 0}));
  world.options.train_on = TrainOn::last;
  EXPECT_EQ(trained_text(first(world.open())), "B$");
  world.options.train_on = TrainOn::all;
  EXPECT_EQ(
      first(world.open()).trained, // all but the first, before which nothing stands
      (std::vector<std::uint8_t>{0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(Conversations, CallsAreTrainedOnResultsAreNot) {
  const std::string call =
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]})";
  ChatWorld world(line({turn("user", "Q"), call, turn("tool", "R"), turn("assistant", "Z")}));
  world.sequence = 255;
  const std::string text = trained_text(first(world.open()));
  EXPECT_NE(text.find("<｜tool▁calls▁begin｜>"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("<｜tool▁calls▁end｜>$|Z$")) << text;
  EXPECT_EQ(text.find("R"), std::string::npos) << text;
  world.options.train_on = TrainOn::last;
  EXPECT_EQ(trained_text(first(world.open())), "Z$");
}

TEST(Conversations, OtherFieldsBlankLinesAndAByteOrderMark) {
  ChatWorld world("\xEF\xBB\xBF"
                  R"({"id":7,"score":0.5,"messages":[)" +
                  turn("user", "Q") + "," + turn("assistant", "A") + "]}\r\n\n  \n" + kOk);
  const ChatSampler sampler = world.open();
  EXPECT_EQ(sampler.conversations().sources.at(0).lines, 2);
  EXPECT_EQ(sampler.conversations().train.size(), 2);
}

TEST(Conversations, OverLongIsDroppedSplitOrRefused) {
  std::vector<std::string> turns{turn("system", "S")};
  for (const char *q : {"Q", "R", "U", "V", "W"}) {
    turns.push_back(turn("user", q));
    turns.push_back(turn("assistant", q == std::string("U") ? "XXXXXXXXXXXXXXXXXXXX" : "A"));
  }
  ChatWorld world(kOk + line(turns));
  world.sequence = 39; // the whole has about 50 tokens; S and two turns 12; the third 26
  const ChatSampler dropped = world.open();
  const auto &d = dropped.conversations().sources.at(0);
  EXPECT_EQ(d.over_long, 1);
  EXPECT_EQ(d.dropped, 1);
  EXPECT_EQ(d.train, 1);
  EXPECT_FALSE(dropped.remarks().empty());

  ChatWorld alone(line(turns));
  alone.sequence = 19;
  alone.options.over_long = OverLong::split;
  const ChatSampler split = alone.open();
  const auto &s = split.conversations().sources.at(0);
  EXPECT_EQ(s.over_long, 1);
  EXPECT_EQ(s.dropped, 0);
  EXPECT_EQ(s.dropped_turns, 1);
  std::string text;
  for (std::int64_t i = 0; i < split.conversations().train.size(); ++i) {
    Sample piece;
    split.conversations().train.append_to(piece, i);
    EXPECT_LE(piece.tokens.size(), 20u);
    EXPECT_EQ(piece.tokens[0], chat_tokenizer()->bos());
    EXPECT_EQ(piece.tokens[1], chat_tokenizer()->encode("S").at(0));
    text += text_of(piece.tokens) + "/";
  }
  EXPECT_EQ(text, "SQARA/SVAWA/");

  alone.options.over_long = OverLong::stop;
  expect_error(error_of([&] { alone.open(); }), Exit::data, "E137", {"a.jsonl:1", "20"});
  alone.options.on_bad = BadLine::skip; // too long is no fault of the line
  expect_error(error_of([&] { alone.open(); }), Exit::data, "E137", {"a.jsonl:1"});
}

struct Bad {
  std::string text, number;
  std::vector<std::string> parts;
};

std::vector<Bad> bad_lines() {
  const std::string q = turn("user", "Q"), a = turn("assistant", "A");
  return {{"{\"messages\": [\n", "E130", {}},
          {"not json\n", "E130", {}},
          {"{\"messages\":[" + turn("user", "\xE6\xB5") + "]}\n", "E130", {}},
          {"{\"text\": \"Q\"}\n", "E131", {"messages"}},
          {"{\"messages\": \"Q\"}\n", "E131", {}},
          {"3\n", "E131", {}},
          {line({turn("robot", "Q"), a}), "E131", {"robot", "messages[0]"}},
          {line({q, R"({"role":"assistant"})"}), "E131", {"messages[1]"}},
          {line({q, turn("assistant", "")}), "E132", {"messages[1]"}},
          {line({q, a, q, turn("assistant", ""), q, a}), "E132", {"messages[3]"}},
          {line({q, q, a}), "E132", {"messages[1]", "in a row"}},
          {line({q, a, a}), "E132", {"messages[2]", "in a row"}},
          {line({a, q, a}), "E132", {"messages[0]", "speaks first"}},
          {line({q, a, q}), "E132", {"messages[2]", "last turn"}},
          {line({q, turn("tool", "R"), a}), "E132", {"messages[1]"}},
          {line({q}), "E136", {"no turn of the assistant"}},
          {line({turn("system", "S")}), "E136", {}},
          {line({}), "E136", {}}};
}

TEST(Conversations, BadLinesAreNamed) {
  for (const Bad &bad : bad_lines()) {
    ChatWorld world(kOk + "\n" + bad.text + kOk);
    std::vector<std::string> parts = bad.parts;
    parts.push_back("a.jsonl:3");
    expect_error(error_of([&] { world.open(); }), Exit::data, bad.number, parts);
    world.options.on_bad = BadLine::skip;
    const ChatSampler sampler = world.open();
    const auto &report = sampler.conversations().sources.at(0);
    EXPECT_EQ(report.bad, 1) << bad.text;
    EXPECT_EQ(report.train, 2) << bad.text;
    ASSERT_EQ(report.faults.size(), 1u);
    EXPECT_NE(report.faults[0].find("a.jsonl:3"), std::string::npos) << report.faults[0];
    EXPECT_NE(report.faults[0].find(bad.number), std::string::npos) << report.faults[0];
    EXPECT_EQ(sampler.remarks().size(), 2u);
  }
}

TEST(Conversations, TheFirstFaultInTheFileIsToldWhateverTheThreads) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += i >= 50 && i % 50 == 0 ? "broken\n" : numbered(i);
  const ChatWorld world(text);
  for (int i = 0; i < 5; ++i)
    expect_error(error_of([&] { world.open(); }), Exit::data, "E130", {"a.jsonl:51"});
}

TEST(Conversations, NothingLeft) {
  for (const std::string &text : {std::string(), std::string("\n \n")})
    expect_error(error_of([&] { ChatWorld(text).open(); }), Exit::data, "E135", {"0 lines"});
  ChatWorld world(kOk);
  world.sequence = 3;
  expect_error(error_of([&] { world.open(); }), Exit::data, "E135", {"1 left out"});
  ChatWorld bad("{}\n");
  bad.options.on_bad = BadLine::skip;
  expect_error(error_of([&] { bad.open(); }), Exit::data, "E135", {"1 skipped"});
  ChatWorld held(kOk);
  held.options.validation = 0.9;
  ChatWorld none(kOk);
  none.options.sources[0].paths = {(none.folder / "absent.jsonl").string()};
  expect_error(error_of([&] { none.open(); }), Exit::data, "E111", {"absent.jsonl", "main"});
}

TEST(Conversations, ATokenizerWithoutMarkersIsRefusedAtOnce) {
  std::string json = small_tokenizer().to_json();
  for (std::size_t at = 0; (at = json.find("<｜User｜>", at)) != std::string::npos;)
    json.replace(at, std::string("<｜User｜>").size(), "<｜Uzer｜>");
  ChatWorld world(kOk);
  world.options.on_bad = BadLine::skip;
  const auto other =
      std::make_shared<const data::Tokenizer>(data::Tokenizer::from_json(json, "test"));
  expect_error(error_of([&] { ChatSampler(world.options, other, 64, 1); }), Exit::data, "E134",
               {"<｜User｜>"});
}

TEST(Conversations, TablesAreChecked) {
  const auto read = [](const std::string &text) {
    deck::Deck deck = deck::Deck::parse(text, "d.toml");
    data::read_chat_options(deck);
    deck.finish();
  };
  const std::string source = "[[sft.source]]\nname = \"a\"\npaths = [\"x\"]\n";
  read("[sft]\n" + source);
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"[sft]\n", "no [[sft.source]]"},
      {source + source, "Two sources"},
      {"[[sft.source]]\nname = \"a b\"\npaths = [\"x\"]\n", "letters"},
      {"[[sft.source]]\nname = \"a\"\npaths = []\n", "empty list"},
      {source + "repeat = 0\n", "repeat"},
      {"[sft]\nover_long = \"split\"\ntrain_on = \"last\"\n" + source, "split"}};
  for (const auto &[text, part] : wrong)
    expect_error(error_of([&] { read(text); }), Exit::deck, "E139", {"d.toml", part});
  deck::Deck pairs = deck::Deck::parse("[pairs]\nover_long = \"split\"\n", "d.toml");
  expect_error(error_of([&] { data::read_pair_options(pairs); }), Exit::deck, "E008", {});
}

TEST(Conversations, TheSamplesOfTheTreeCanBeUsed) {
  data::ChatOptions options = deck::defaults<data::ChatOptions>();
  options.sources = {source_at("tree", fs::path(HADAL_SOURCE_DIR) / "input/sft/samples")};
  const ChatSampler sampler(options, chat_tokenizer(), 512, 1);
  EXPECT_EQ(sampler.conversations().sources.at(0).lines, 400);
  EXPECT_EQ(sampler.conversations().sources.at(0).over_long, 0);
  EXPECT_GT(sampler.validation_samples(), 0);
  EXPECT_LT(sampler.fill(0).padding(), 0.05);
}

} // namespace

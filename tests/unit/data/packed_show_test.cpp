// SPDX-License-Identifier: Apache-2.0
// Conversations on a terminal and on paper.
#include "conversation_support.hpp"
#include "data/packed_show.hpp"

namespace {

using data::Sample;
using namespace data::test;

std::string bare(const std::string &text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b')
      i = text.find('m', i);
    else
      out += text[i];
  }
  return out;
}

ChatWorld small() {
  return ChatWorld(line({turn("system", "S"), turn("user", "Q7"), turn("assistant", "A\\u001bB")}));
}

TEST(PackedShow, WhatIsTrainedOnStandsBetweenMarks) {
  const ChatWorld world = small();
  const data::ChatSampler sampler = world.open();
  data::Cursor cursor = sampler.start();
  const Sample sample = sampler.next(cursor, 1).at(0);
  EXPECT_EQ(data::render_packed(sample, sampler.tokenizer(), false),
            "⟨conversation 0: 10 tokens, 4 trained on⟩\n"
            "⟨begin⟩S⟨User⟩Q|7⟨Assistant⟩⟦A|\\x1b|B⟨end⟩⟧\n"
            "⟨padding: 55 tokens⟩");
}

TEST(PackedShow, ColourTellsTheSame) {
  const ChatWorld world = small();
  const data::ChatSampler sampler = world.open();
  data::Cursor cursor = sampler.start();
  const std::string text =
      data::render_packed(sampler.next(cursor, 1).at(0), sampler.tokenizer(), true);
  EXPECT_EQ(bare(text), "⟨conversation 0: 10 tokens, 4 trained on⟩\n"
                        "⟨begin⟩S⟨User⟩Q7⟨Assistant⟩A\\x1bB⟨end⟩\n⟨padding: 55 tokens⟩");
  // Trained tokens are bold, the others are not.
  std::string bold;
  for (const char *shade : {"220m", "229m"}) EXPECT_NE(text.find(shade), std::string::npos);
  for (std::size_t at = 0; (at = text.find("\x1b[1;38;5;2", at)) != std::string::npos; ++at) {
    const std::size_t begin = text.find('m', at) + 1, end = text.find('\x1b', begin);
    if (text.compare(begin - 4, 4, "203m") != 0) bold += text.substr(begin, end - begin);
  }
  EXPECT_EQ(bold, "A\\x1bB⟨end⟩");
}

TEST(PackedShow, HeadsRangesAndTheEnd) {
  const ChatWorld world = small();
  const data::ChatSampler sampler = world.open();
  const std::string text = data::show(sampler, {0, 2, false, false});
  EXPECT_NE(text.find("training sample 0 | 1 conversations | 65 tokens | 4 trained on (6.2 %) | "
                      "padding 84.6 %"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("training sample 1 |"), std::string::npos);
  const auto refused = [&](const data::ShowRequest &request) {
    expect_error(error_of([&] { data::show(sampler, request); }), base::Exit::data, "E129", {});
  };
  refused({0, 1, true, false});
  refused({std::int64_t{1} << 62, 1, false, false});
  refused({1, std::numeric_limits<std::int64_t>::max(), false, false});
  EXPECT_NO_THROW(data::show(sampler, {0, 0, true, false}));
}

TEST(PackedShow, Pairs) {
  TemporaryFolder folder;
  data::PairOptions options = deck::defaults<data::PairOptions>();
  options.validation = 0.0;
  options.sources = {
      source_at("p", folder.write("p.jsonl", R"({"prompt":"Q","chosen":"A","rejected":"B"})"))};
  const data::PairSampler sampler(options, chat_tokenizer(), 15, 1);
  const std::string text = data::show(sampler, {0, 1, false, false});
  EXPECT_NE(text.find("| 1 pairs |"), std::string::npos) << text;
  EXPECT_NE(text.find("⟨pair 0, chosen: 6 tokens⟩\n⟨begin⟩⟨User⟩Q⟨Assistant⟩A⟦⟨end⟩⟧\n"
                      "⟨pair 0, rejected: 6 tokens⟩\n⟨begin⟩⟨User⟩Q⟨Assistant⟩B⟦⟨end⟩⟧\n"
                      "⟨padding: 4 tokens⟩\n"),
            std::string::npos)
      << text;
}

TEST(PackedShow, Stats) {
  std::string lines;
  for (int i = 0; i < 60; ++i) lines += numbered(i);
  ChatWorld world(lines + "{}\n");
  world.options.on_bad = data::BadLine::skip;
  world.options.validation = 0.2;
  world.sequence = 24;
  const data::ChatSampler sampler = world.open();
  const auto &report = sampler.conversations().sources.at(0);
  EXPECT_GT(report.dropped, 0);
  const std::string text = data::stats(sampler, 2 * sampler.samples_of(1));
  for (const std::string &part :
       {std::string("p95"), std::string("1 of 61 lines cannot be used"), std::string("E131"),
        fmt::format("{} of 61 are longer than a sample of 25 tokens: {} left out", report.over_long,
                    report.dropped),
        std::string("% padding"), std::string("about 2.00 epochs"), sampler.content_hash()})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

} // namespace

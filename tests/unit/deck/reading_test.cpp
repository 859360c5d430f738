// SPDX-License-Identifier: Apache-2.0
// What a deck may say, and what becomes of it.
#include <filesystem>
#include <fstream>

#include "options.hpp"

namespace {

using namespace deck_test;
using deck::Deck;

TEST(Deck, DefaultsStandWhereNothingIsSaid) {
  const All all = parsed("[run]\nname = 'x'\n");
  EXPECT_EQ(all.run.name, "x");
  EXPECT_EQ(all.run.directory, "checkpoints");
  EXPECT_TRUE(all.run.tags.empty());
  EXPECT_EQ(all.run.limit, 3600);
  EXPECT_EQ(all.run.mode, Mode::exact);
  EXPECT_EQ(all.batch.sequence, 4096);
  EXPECT_EQ(all.batch.betas, (std::vector<double>{0.9, 0.95}));
  EXPECT_EQ(all.batch.stages, (std::vector<std::int64_t>{2, 3}));
  EXPECT_TRUE(all.sources.empty());
}

TEST(Deck, ReadsEveryType) {
  const All all = parsed(R"(
run.name = "tiny"            # dotted keys are TOML too
run.tags = ["a", "b"]
run.limit = "6h"
run.check = false
run.mode = "fast"
[batch]
sequence = "4Ki"
micro_batch = 0x10
seed = -9223372036854775808
rate = 1
betas = [0, 1.0]
stages = [0, "4Ki", 1]
[data.split]
path = "s"
[[data.source]]
path = 'one'
[[data.source]]
path = """two"""
weight = "2.5k"
)");
  EXPECT_EQ(all.run.tags, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(all.run.limit, 21600);
  EXPECT_FALSE(all.run.check);
  EXPECT_EQ(all.run.mode, Mode::fast);
  EXPECT_EQ(all.batch.sequence, 4096);
  EXPECT_EQ(all.batch.micro_batch, 16);
  EXPECT_EQ(all.batch.seed, std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(all.batch.rate, 1.0); // a whole number where a number is wanted
  EXPECT_EQ(all.batch.betas, (std::vector<double>{0, 1}));
  EXPECT_EQ(all.batch.stages, (std::vector<std::int64_t>{0, 4096, 1}));
  EXPECT_EQ(all.split.path, "s");
  ASSERT_EQ(all.sources.size(), 2U);
  EXPECT_EQ(all.sources[0].path, "one");
  EXPECT_EQ(all.sources[0].weight, 1.0);
  EXPECT_EQ(all.sources[1].path, "two");
  EXPECT_EQ(all.sources[1].weight, 2500);
}

TEST(Deck, LettersBeyondAsciiComeThrough) {
  const char *all =
      "\xC2\xA0 \xC3\xA9\xC3\xA8 \xE2\x80\xA8 \xEF\xBF\xBD \xEE\x80\x80 \xE6\xB7\xB1\xE6\xB5\xB7 "
      "\xF0\x9F\x8C\x8A\xF3\xB0\x80\x80\xF4\x80\x80\x80";
  for (const std::string quote : {"'", "\"", "'''", "\"\"\""})
    EXPECT_EQ(parsed("# " + std::string(all) + "\n[run] # \xC3\xA9\nname = " + quote + all + quote)
                  .run.name,
              all);
  EXPECT_EQ(parsed("run.name = \"\\u00e9\\uE000\xC3\xA9\"").run.name,
            "\xC3\xA9\xEE\x80\x80\xC3\xA9");
  EXPECT_EQ(parsed("run.name = \"\"\"a\\\n  \xC3\xA9\"\"\"").run.name, "a\xC3\xA9");
  EXPECT_EQ(parsed("", {"run.name=\xC3\xA9t\xC3\xA9"}).run.name, "\xC3\xA9t\xC3\xA9");
}

TEST(Deck, TwoStructsMayShareATable) {
  struct More {
    bool extra;
    void keys(deck::Reader &r) { r.key(extra, "extra", false, "one more"); }
  } more;
  Deck deck = Deck::parse("[run]\nname = 'x'\nextra = true\n", "a.toml");
  All all;
  deck.read_table("run", more);
  read_all(deck, all);
  EXPECT_TRUE(more.extra);
  deck.read_table("run", all.run); // and be read again without a second row
  int names = 0;
  for (const deck::Resolved &value : deck.resolved()) names += value.name == "name" ? 1 : 0;
  EXPECT_EQ(names, 1);
}

TEST(Overrides, WinOverTheFile) {
  const All all = parsed("[run]\nname = 'x'\n[batch]\nsequence = 32\n[[data.source]]\npath='p'\n",
                         {"batch.sequence=8Ki", "run.name=bare-word/with.dots", "run.check=false",
                          "batch.betas=[0.5, 0.25]", "batch.rate=1e-3", "run.limit=90s",
                          "data.source.0.weight=7", "run.tags=[\"q#1\"]", "data.split.path=a b"});
  EXPECT_EQ(all.batch.sequence, 8192);
  EXPECT_EQ(all.run.name, "bare-word/with.dots");
  EXPECT_FALSE(all.run.check);
  EXPECT_EQ(all.batch.betas, (std::vector<double>{0.5, 0.25}));
  EXPECT_EQ(all.batch.rate, 1e-3);
  EXPECT_EQ(all.run.limit, 90);
  EXPECT_EQ(all.sources.at(0).weight, 7);
  EXPECT_EQ(all.run.tags, (std::vector<std::string>{"q#1"}));
  EXPECT_EQ(all.split.path, "a b");
}

TEST(Overrides, ATextNeedsNoQuotes) {
  EXPECT_EQ(parsed("", {"run.name=2024"}).run.name, "2024");
  EXPECT_EQ(parsed("", {"run.name=true"}).run.name, "true");
  EXPECT_EQ(parsed("", {"run.name=1979-05-27"}).run.name, "1979-05-27");
  EXPECT_EQ(parsed("", {"run.name=\"two words\""}).run.name, "two words");
  EXPECT_EQ(parsed("", {"run.name=3 # no comment"}).run.name, "3 # no comment");
  EXPECT_EQ(parsed("", {"run.name=a=b"}).run.name, "a=b");
  EXPECT_EQ(parsed("", {"run.name="}).run.name, "");
}

const deck::Resolved &resolved(const Deck &deck, const std::string &name) {
  for (const deck::Resolved &value : deck.resolved())
    if (value.name == name) return value;
  throw std::runtime_error("no " + name);
}

TEST(Provenance, SaysWhoWon) {
  Deck deck = Deck::parse("[run]\nname = 'x'\n\n[batch]\nsequence = 32\n", "a.toml",
                          {"batch.micro_batch=2"});
  deck.add_restart("[batch]\nsequence = 64\nmicro_batch = 4\nseed = 5\n", "old.toml");
  All all;
  read_all(deck, all);
  EXPECT_EQ(all.batch.micro_batch, 2); // command line > deck > restart > default
  EXPECT_EQ(all.batch.sequence, 32);
  EXPECT_EQ(all.batch.seed, 5);
  EXPECT_EQ(all.batch.rate, 0.1);
  EXPECT_EQ(resolved(deck, "micro_batch").origin, deck::Origin::command_line);
  EXPECT_EQ(resolved(deck, "micro_batch").where, "command line");
  EXPECT_EQ(resolved(deck, "sequence").origin, deck::Origin::file);
  EXPECT_EQ(resolved(deck, "sequence").where, "a.toml:5");
  EXPECT_EQ(resolved(deck, "seed").origin, deck::Origin::restart);
  EXPECT_EQ(resolved(deck, "seed").where, "old.toml:4");
  EXPECT_EQ(resolved(deck, "rate").origin, deck::Origin::fallback);
  const std::string echo = deck.echo();
  for (const char *line : {"batch.sequence     32             a.toml:5\n",
                           "batch.micro_batch  2              command line\n",
                           "batch.seed         5              restart old.toml:4\n",
                           "batch.rate         0.1            default\n"})
    EXPECT_NE(echo.find(line), std::string::npos) << line << "in\n" << echo;
}

TEST(Provenance, UnknownKeysOfARestartAreNamedNotRefused) {
  Deck deck = Deck::parse("[run]\nname = 'x'\n", "a.toml");
  deck.add_restart("[batch]\ngone = 1\n", "old.toml");
  All all;
  ::testing::internal::CaptureStderr();
  EXPECT_NO_THROW(read_all(deck, all));
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("old.toml:2: [batch] gone = 1"),
            std::string::npos);
}

TEST(ResolvedToml, GivesTheSameRun) {
  const std::string text =
      "[run]\nname = \"q\\\"uo\\\\te\\n\\u0001 \xC3\xA9\"\nlimit = \"1.5h\"\n"
      "tags = [\"a,b\", \"]\"]\nmode = \"fast\"\n"
      "[batch]\nrate = 0.30000000000000004\nseed = 9223372036854775807\n"
      "betas = [1e-300, 0.1]\nstages = []\nsequence = \"1Mi\"\n[data.split]\npath = 'x'\n"
      "[[data.source]]\npath = '1'\n[[data.source]]\npath = '2'\nweight = 3\n";
  Deck deck = Deck::parse(text, "a.toml", {"batch.micro_batch=3"});
  All first, second;
  read_all(deck, first);
  Deck again = Deck::parse(deck.resolved_toml(), "b.toml");
  read_all(again, second);
  EXPECT_EQ(deck.resolved_toml(), again.resolved_toml());
  ASSERT_EQ(deck.resolved().size(), again.resolved().size());
  for (std::size_t i = 0; i < deck.resolved().size(); ++i) {
    EXPECT_EQ(deck.resolved()[i].value, again.resolved()[i].value);
    EXPECT_EQ(again.resolved()[i].origin, deck::Origin::file);
  }
  EXPECT_EQ(first.run.name, second.run.name);
  EXPECT_EQ(second.run.name, "q\"uo\\te\n\x01 \xC3\xA9");
  EXPECT_EQ(second.run.tags, first.run.tags);
  EXPECT_EQ(second.batch.rate, 0.30000000000000004);
  EXPECT_EQ(second.batch.betas, first.batch.betas);
  EXPECT_TRUE(second.batch.stages.empty());
  EXPECT_EQ(second.batch.seed, std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(second.sources.at(1).weight, 3);
}

TEST(Explain, ShowsEveryKey) {
  Deck deck = Deck::parse("[run]\nname = 'x'\n", "a.toml");
  All all;
  read_all(deck, all);
  const std::string text = deck.explain();
  for (const char *part :
       {"[batch]\n  sequence = 4096\n      tokens in one packed sequence\n"
        "      whole number: 16 to 1,048,576 tokens\n",
        "  mode = \"exact\"\n      how\n      choice: fast, exact\n", "  name = required\n",
        "  limit = 3600.0\n      stop after this time\n      duration: 0 to 1000000 s\n",
        "[data.source]\n  path = required\n"}) // declared though the deck has no source
    EXPECT_NE(text.find(part), std::string::npos) << part << "in\n" << text;
}

TEST(Declare, NeedsNoDeck) {
  const std::vector<deck::KeyInfo> keys = deck::declare<BatchOptions>("batch");
  ASSERT_EQ(keys.size(), 6U);
  EXPECT_EQ(keys[0].table, "batch");
  EXPECT_EQ(keys[0].name, "sequence");
  EXPECT_EQ(keys[0].fallback, "4096");
  EXPECT_EQ(keys[0].range, "16 to 1,048,576");
  EXPECT_EQ(keys[2].range, "");
  EXPECT_EQ(deck::defaults<BatchOptions>().sequence, 4096);
}

TEST(Declare, ADefaultOutsideItsRangeIsOurFault) {
  struct Wrong {
    std::int64_t n;
    void keys(deck::Reader &r) { r.key(n, "n", 0, 1, 2, "", ""); }
  };
  EXPECT_THROW((void)deck::declare<Wrong>("t"), base::Fault);
}

TEST(Deck, ReadsFiles) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / "hadal_deck_test.toml";
  std::ofstream(path) << "\xEF\xBB\xBF[run]\r\nname = 'file'\r\n"; // byte order mark, Windows lines
  Deck deck = Deck::read(path.string(), {"batch.seed=1"});
  All all;
  read_all(deck, all);
  std::filesystem::remove(path);
  EXPECT_EQ(all.run.name, "file");
  EXPECT_EQ(deck.path(), path.string());
  EXPECT_EQ(deck.where("run", "name"), path.string() + ":2");
  EXPECT_EQ(deck.where("run", "check"), path.string() + ":1");
  EXPECT_EQ(deck.where("optimiser", "x"), path.string());
  EXPECT_TRUE(deck.has("run"));
  EXPECT_TRUE(deck.has("run", "name"));
  EXPECT_FALSE(deck.has("run", "check"));
  EXPECT_FALSE(deck.has("model"));
}

} // namespace

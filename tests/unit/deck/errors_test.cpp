// SPDX-License-Identifier: Apache-2.0
// Every fault a deck can have: its number, its place and its text.
#include <filesystem>
#include <fstream>

#include "base/random.hpp"
#include "options.hpp"

namespace {

using namespace deck_test;
using deck::Deck;

const std::string kRun = "[run]\nname = 'x'\n"; // lines 1 and 2 of most decks below

struct Case {
  const char *label;
  std::string text;
  Overrides overrides;
  std::string error; // beginning of "E00x what()"; parts after '|' may stand anywhere
};

std::string repeat(const std::string &part, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += part;
  return text;
}

std::vector<std::string> parts_of(const std::string &text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t bar; (bar = text.find('|', begin)) != std::string::npos; begin = bar + 1)
    parts.push_back(text.substr(begin, bar - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

void expect_error(const Case &one) {
  SCOPED_TRACE(one.label);
  const std::string got = error_of(one.text, one.overrides);
  const std::vector<std::string> parts = parts_of(one.error);
  EXPECT_EQ(got.substr(0, parts[0].size()), parts[0]);
  for (const std::string &part : parts)
    EXPECT_NE(got.find(part), std::string::npos) << "no \"" << part << "\" in\n" << got;
  const std::string number = "[" + one.error.substr(0, 4) + "]";
  EXPECT_EQ(got.substr(got.size() < 6 ? 0 : got.size() - 6), number);
}

TEST(DeckErrors, Syntax) {
  for (const Case &one : std::vector<Case>{
           {"no value", "[run]\nname =\n", {}, "E002 a.toml:2: name ="},
           {"bare word", "[run]\n\nname = x y\n", {}, "E002 a.toml:3: name = x y"},
           {"open table", "[run\nname = 'x'\n", {}, "E002 a.toml:1: [run"},
           {"open string", kRun + "directory = \"abc\n", {}, "E002 a.toml:3: directory = \"abc"},
           {"open list", kRun + "tags = ['a',\n", {}, "E002 a.toml:"},
           {"garbage",
            std::string("\x7f"
                        "ELF\x02\x01\x01\0\0\0",
                        10),
            {},
            "E002 a.toml:1|zero bytes"},
           {"control byte", kRun + "directory = '\x01'\n", {}, "E002 a.toml:3: directory = '?'"},
           {"latin-1", kRun + "directory = 'caf\xE9'\n", {}, "E002 a.toml:3|not text|UTF-8"},
           {"latin-1 comment", "# caf\xE9\n" + kRun, {}, "E002 a.toml:1|UTF-8"},
           {"half character at the end", kRun + "# \xC3", {}, "E002 a.toml:3|UTF-8"},
           {"huge integer",
            kRun + "[batch]\nsequence = 99999999999999999999\n",
            {},
            "E002 a.toml:4: sequence"},
           {"letter as a key",
            kRun + "caf\xC3\xA9 = 1\n",
            {},
            "E002 a.toml:3: caf\xC3\xA9 = 1|\xC3\xA9"},
           {"letter after a value", kRun + "check = true\xC3\xA9\n", {}, "E002 a.toml:3"},
           {"letter as a value", kRun + "check = \xC3\xA9\n", {}, "E002 a.toml:3"},
           {"letter alone", "\xC3\xA9", {}, "E002 a.toml:1"},
           {"strange escape", kRun + "directory = \"\\U00100000\"\n", {}, "E002 a.toml|plane 16"},
           {"terminator as a value",
            kRun + "tags = [ }'a' ]\n[batch]\n",
            {},
            "E002 a.toml:3: tags = [ }'a' ]|malformed"},
           {"terminator at the end", kRun + "check = }", {}, "E002 a.toml:3: check = }"},
           {"JSON", "{ \"run\": 1 }\n", {}, "E002 a.toml:1"},
           {"dots without end", "a" + repeat(".", 100'000) + "a = 1", {}, "E002 a.toml:1|dots"},
           {"deep key", "a" + repeat(".a", 100'000) + " = 1", {}, "E002 a.toml:1|dots"},
           {"deep quoted key", "a" + repeat(".'a'", 50'000) + " = 1", {}, "E002 a.toml:1|dots"},
           {"deep list", "a = " + std::string(100'000, '['), {}, "E002 a.toml:1"},
           {"deep inline tables", repeat("a = {", 30'000), {}, "E002 a.toml:1"},
           {"too large", std::string((1 << 20) + 1, '#'), {}, "E001 a.toml: is too large"},
       })
    expect_error(one);
}

TEST(DeckErrors, DeepNestingIsTakenDownSafely) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = {";
  text += "b = 1" + std::string(200, '}');
  EXPECT_EQ(error_of(text).substr(0, 13), "E002 a.toml:1");
}

TEST(DeckErrors, Repetition) {
  for (const Case &one : std::vector<Case>{
           {"key", kRun + "name = 'y'\n", {}, "E003 a.toml:3: name = 'y'|given before"},
           {"key of another type", kRun + "name = 1\n", {}, "E003 a.toml:3"},
           {"table", kRun + "[batch]\n[run]\n", {}, "E003 a.toml:4: [run]"},
           {"table over key", "run = 1\n[run]\n", {}, "E003 a.toml:2: [run]"},
           {"dotted", kRun + "[batch]\nseed = 1\n'seed' = 2\n", {}, "E003 a.toml:5"},
           {"override",
            kRun,
            {"batch.seed=1", "batch.rate=0", "batch.seed=1"},
            "E003 command line: batch.seed=1|twice"},
       })
    expect_error(one);
}

TEST(DeckErrors, Overrides) {
  for (const Case &one : std::vector<Case>{
           {"no equals", kRun, {"batch.seed"}, "E004 command line: batch.seed|table.key=value"},
           {"no table", kRun, {"seed=1"}, "E004 command line: seed=1|table's name"},
           {"empty", kRun, {""}, "E004 command line"},
           {"empty key", kRun, {"batch.=1"}, "E004 command line: batch.=1"},
           {"empty table", kRun, {".seed=1"}, "E004 command line"},
           {"space", kRun, {"batch.seed =1"}, "E004 command line"},
           {"odd letters", kRun, {"b\xC3\xA4tch.seed=1"}, "E004 command line"},
           {"open quote", kRun, {"run.directory=\"x"}, "E004 command line: run.directory=\"x"},
           {"open list", kRun, {"run.tags=[1"}, "E004 command line"},
           {"second line", kRun, {"batch.seed=1\nrate=2"}, "E004 command line"},
           {"not UTF-8", kRun, {"run.directory=\xFF"}, "E004 command line"},
           {"below a value", kRun, {"run.name.x=1"}, "E004 command line: run.name.x=1|a.toml:2"},
           {"whole table", kRun, {"data.split=1", "data.split.path=x"}, "E004 command line"},
           {"a table that has keys",
            "[data.split]\npath='x'\n",
            {"data.split=1"},
            "E004 command line: data.split=1"},
           {"no such element",
            kRun + "[[data.source]]\npath='p'\n",
            {"data.source.1.weight=2"},
            "E004 command line|it has 1"},
           {"too deep", kRun, {"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r=1"}, "E004 command line"},
       })
    expect_error(one);
}

TEST(DeckErrors, UnknownNames) {
  for (
      const Case &one : std::vector<Case>{
          {"key",
           kRun + "[batch]\nmicro_bach = 2\n",
           {},
           "E005 a.toml:4: [batch] micro_bach = 2\n  micro_bach is not a key of [batch]; did you "
           "mean micro_batch?     [E005]"},
          {"far key",
           kRun + "temperature = 2\n",
           {},
           "E005 a.toml:3: [run] temperature = 2\n  temperature is not a key of [run].     [E005]"},
          {"table",
           kRun + "[bach]\n",
           {},
           "E005 a.toml:3: [bach]\n  bach is not a table of this deck; did you mean batch?"},
          {"nested table",
           kRun + "[data.splitt]\n",
           {},
           "E005 a.toml:3: [data.splitt]|did you mean split?"},
          {"table in a table", kRun + "[run.deep.er]\nx = 1\n", {}, "E005 a.toml:3: [run.deep]"},
          {"top level key", "seed = 1\n" + kRun, {}, "E005 a.toml:1: seed = 1|below a [table]"},
          {"in a list",
           kRun + "[[data.source]]\npath = 'p'\n[[data.source]]\npath = 'q'\nwieght = 1\n",
           {},
           "E005 a.toml:7: [data.source.1] wieght = 1|did you mean weight?"},
          {"list of tables", kRun + "[[extra]]\nx = 1\n", {}, "E005 a.toml:3|extra is not a table"},
          {"override",
           kRun,
           {"batch.sequnce=32"},
           "E005 command line: [batch] sequnce = 32|did you mean sequence?"},
          {"override table",
           kRun,
           {"btach.sequence=32"},
           "E005 command line: [btach]|did you mean batch?"},
          {"all at once",
           kRun + "foo = 1\n[batch]\nbar = 2\n",
           {"run.baz=3"},
           "E005 a.toml:3: [run] foo = 1|\n  a.toml:5: [batch] bar = 2: bar is not|\n  command "
           "line: [run] baz = 3"},
          {"long key",
           kRun + std::string(5000, 'k') + " = 1\n",
           {},
           "E005 a.toml:3: [run] kkk|kkk ... = 1"},
      })
    expect_error(one);
}

TEST(DeckErrors, Types) {
  const std::string batch = kRun + "[batch]\n";
  for (const Case &one : std::vector<Case>{
           {"real for whole",
            batch + "sequence = 4096.0\n",
            {},
            "E006 a.toml:4: [batch] sequence = 4096.0|whole number"},
           {"text for whole",
            batch + "sequence = '4 Ki'\n",
            {},
            "E006 a.toml:4: [batch] sequence = \"4 Ki\"|suffix"},
           {"half a token", batch + "sequence = '0.3Ki'\n", {}, "E006 a.toml:4"},
           {"bool for whole", batch + "sequence = true\n", {}, "E006 a.toml:4"},
           {"list for whole",
            batch + "sequence = [1]\n",
            {},
            "E006 a.toml:4: [batch] sequence = [1]"},
           {"table for whole",
            batch + "sequence = { x = 1 }\n",
            {},
            "E006 a.toml:4: [batch.sequence]"},
           {"date for whole",
            batch + "sequence = 1979-05-27\n",
            {},
            "E006 a.toml:4: [batch] sequence = 1979-05-27"},
           {"nan", batch + "rate = nan\n", {}, "E006 a.toml:4: [batch] rate = nan|finite"},
           {"inf", batch + "rate = -inf\n", {}, "E006 a.toml:4: [batch] rate = -inf|finite"},
           {"nan in a list", batch + "betas = [0.1, nan]\n", {}, "E006 a.toml:4"},
           {"text in a list of numbers", batch + "betas = [0.1, 'x']\n", {}, "E006 a.toml:4"},
           {"number for list", batch + "betas = 0.1\n", {}, "E006 a.toml:4|list of numbers"},
           {"text for bool", kRun + "check = 'true'\n", {}, "E006 a.toml:3|without quotes"},
           {"whole for bool", kRun + "check = 1\n", {}, "E006 a.toml:3"},
           {"whole for text", "[run]\nname = 5\n", {}, "E006 a.toml:2: [run] name = 5|in quotes"},
           {"zero byte", "[run]\nname = \"a\\u0000b\"\n", {}, "E006 a.toml:2|zero byte"},
           {"text for list", kRun + "tags = 'a'\n", {}, "E006 a.toml:3|list of texts"},
           {"mixed list", kRun + "tags = ['a', 1]\n", {}, "E006 a.toml:3: [run] tags = [\"a\", 1]"},
           {"duration", kRun + "limit = '6 hours'\n", {}, "E006 a.toml:3|\"6h\""},
           {"endless duration", kRun + "limit = inf\n", {}, "E006 a.toml:3"},
           {"value for table", "batch = 5\n" + kRun, {}, "E006 a.toml:1: batch = 5|write [batch]"},
           {"list for table", kRun + "[[batch]]\nseed = 1\n", {}, "E006 a.toml:3|write [batch]"},
           {"table for list",
            kRun + "[data.source]\npath = 'x'\n",
            {},
            "E006 a.toml:3|write [[data.source]]"},
           {"values for list",
            kRun + "[data]\nsource = [1, 2]\n",
            {},
            "E006 a.toml:4|write [[data.source]]"},
           {"value for parent", "data = 3\n" + kRun, {}, "E006 a.toml:1: data = 3|data is a table"},
           {"override",
            kRun,
            {"batch.sequence=many"},
            "E006 command line: [batch] sequence = many"},
           {"table as text", kRun, {"run.directory={a=1}"}, "E006 command line"},
       })
    expect_error(one);
}

TEST(DeckErrors, RangesAndChoices) {
  const std::string batch = kRun + "[batch]\n";
  for (const Case &one : std::vector<Case>{
           {"below",
            batch + "sequence = 15\n",
            {},
            "E007 a.toml:4: [batch] sequence = 15\n  sequence must be 16 to 1,048,576 tokens.     "
            "[E007]"},
           {"above",
            batch + "sequence = 1048577\n",
            {},
            "E007 a.toml:4: [batch] sequence = 1048577"},
           {"above by suffix",
            batch + "sequence = '2Mi'\n",
            {},
            "E007 a.toml:4: [batch] sequence = \"2Mi\""},
           {"real below", batch + "rate = -1.0000001\n", {}, "E007 a.toml:4|-1 to 1"},
           {"real above", batch + "rate = 2\n", {}, "E007 a.toml:4"},
           {"in a list", batch + "betas = [0.1, 1.5]\n", {}, "E007 a.toml:4"},
           {"duration",
            kRun + "limit = '20d'\n",
            {},
            "E007 a.toml:3: [run] limit = \"20d\"|0 to 1000000 s"},
           {"element",
            kRun + "[[data.source]]\npath = 'x'\nweight = -1\n",
            {},
            "E007 a.toml:5: [data.source.0] weight = -1"},
           {"override", kRun, {"batch.sequence=1"}, "E007 command line: [batch] sequence = 1"},
           {"choice",
            kRun + "mode = 'exct'\n",
            {},
            "E008 a.toml:3: [run] mode = \"exct\"\n  mode must be one of: fast, exact; did you "
            "mean exact?     [E008]"},
           {"choice by case", kRun + "mode = 'FAST!!'\n", {}, "E008 a.toml:3|one of: fast, exact."},
           {"choice by override", kRun, {"run.mode=slow"}, "E008 command line: [run] mode = slow"},
       })
    expect_error(one);
  EXPECT_EQ(error_of(batch + "sequence = 16\nrate = -1\n"), ""); // the ends belong to the range
  EXPECT_EQ(error_of(batch + "sequence = 1048576\nrate = 1\n"), "");
}

TEST(DeckErrors, Missing) {
  for (const Case &one : std::vector<Case>{
           {"empty file", "", {}, "E009 a.toml: [run]|name is missing|name of the run"},
           {"in a table", "\n[run]\ncheck = true\n", {}, "E009 a.toml:2: [run]"},
           {"in a list",
            kRun + "[[data.source]]\nweight = 1\n",
            {},
            "E009 a.toml:3: [data.source.0]|path is missing"},
       })
    expect_error(one);
}

TEST(DeckErrors, Files) {
  const auto number = [](const std::string &path) {
    try {
      (void)Deck::read(path);
    } catch (const base::UserError &error) {
      EXPECT_EQ(error.code(), base::Exit::deck);
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos);
      return error.number();
    }
    return std::string("none");
  };
  EXPECT_EQ(number("/no/such/deck.toml"), "E001");
  EXPECT_EQ(number(std::filesystem::temp_directory_path().string()), "E001");
  EXPECT_EQ(number("/dev/zero"), "E001");
  const auto big = std::filesystem::temp_directory_path() / "hadal_big_deck.toml";
  std::ofstream(big) << std::string((1 << 20) + 1, '\n');
  EXPECT_EQ(number(big.string()), "E001");
  std::filesystem::remove(big);
}

TEST(DeckErrors, ListsOfWholeNumbers) {
  const std::string text = kRun + "[batch]\nstages = ";
  EXPECT_NE(error_of(text + "[1, 2.0]\n").find("E006"), std::string::npos);
  EXPECT_NE(error_of(text + "4\n").find("a list of whole numbers, such as [4, 5]"),
            std::string::npos);
  EXPECT_NE(error_of(text + "[4, -1]\n").find("0 to 4,096"), std::string::npos);
  EXPECT_EQ(error_of(text + "[]\n"), "");
}

// Whatever the bytes, a deck is read or refused by an error of its own.
TEST(DeckErrors, DamagedTextIsReadOrRefused) {
  const std::string whole = kRun + "tags = ['a', \"b\"]\nlimit = '6h'\n[batch]\nsequence = '4Ki'\n"
                                   "betas = [0.5, 1e-3]\n[[data.source]]\npath = 'p'\n";
  ASSERT_EQ(error_of(whole), "");
  const std::string odd = "[]{}=.'\"#\n,\\u-+0eT:\xC3\xFF";
  int refused = 0;
  for (std::uint64_t i = 0; i < 5'000; ++i) {
    std::string text = whole;
    for (std::uint64_t k = 0; k <= i % 4; ++k) {
      const auto draw = base::random::philox(1, base::random::Purpose::test, i, k);
      const std::size_t at = draw.v[0] % text.size();
      if (draw.v[1] % 3 == 0) text.erase(at, 1 + draw.v[2] % 5);
      if (draw.v[1] % 3 == 1) text.insert(at, 1, odd[draw.v[2] % odd.size()]);
      if (draw.v[1] % 3 == 2) text[at] = static_cast<char>(draw.v[2]);
      if (text.empty()) text = "x";
    }
    refused += error_of(text).empty() ? 0 : 1; // any other exception ends the test
  }
  EXPECT_GT(refused, 1'000);
  EXPECT_LT(refused, 5'000);
}

TEST(DeckErrors, ChecksBetweenKeys) {
  Deck deck =
      Deck::parse(kRun + "[[data.source]]\npath = 'p'\nweight = 2\n", "a.toml", {"batch.seed=3"});
  All all;
  read_all(deck, all);
  const auto text = [&](const char *table, const char *key) {
    try {
      deck.fail(table, key, "E014", "Because.");
    } catch (const base::UserError &error) {
      return std::string(error.what());
    }
  };
  EXPECT_EQ(text("run", "name"), "a.toml:2: [run] name = \"x\"\n  Because.     [E014]");
  EXPECT_EQ(text("batch", "seed"), "command line: [batch] seed = 3\n  Because.     [E014]");
  EXPECT_EQ(text("run", "check"),
            "a.toml:1: [run] check = true (the default)\n  Because.     [E014]");
  EXPECT_EQ(text("data.source.0", "weight"),
            "a.toml:5: [data.source.0] weight = 2\n  Because.     [E014]");
}

} // namespace

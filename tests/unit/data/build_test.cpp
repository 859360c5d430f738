// SPDX-License-Identifier: Apache-2.0
// Building shards: what comes out, resumption, refusal, damage.
#include <csignal>
#include <set>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/hash.hpp"
#include "base/log.hpp"
#include "data/build.hpp"
#include "data/dataset.hpp"
#include "data_support.hpp"

namespace {

namespace fs = std::filesystem;
using base::Exit;
using data::BuildResult;
using data::Token;
using namespace data::test;

// All texts of a set of documents, decoded.
std::multiset<std::string> texts(const data::Dataset &set, const data::DocumentSet &documents) {
  std::multiset<std::string> all;
  for (std::int64_t d = 0; d < documents.documents(); ++d) {
    std::vector<Token> tokens(static_cast<std::size_t>(documents.length(d)));
    documents.copy(d, 0, documents.length(d), tokens.data());
    all.insert(set.tokenizer().decode(tokens));
  }
  return all;
}

// A child that is killed when the build reports progress for the n-th time; false when it came to its end before.
bool killed_at(const data::BuildRequest &request, int n) {
  const pid_t child = ::fork();
  if (child == 0) {
    data::BuildRequest doomed = request;
    doomed.threads = 1;
    int count = 0;
    doomed.progress = [&](const data::BuildProgress &) {
      if (++count == n) ::raise(SIGKILL);
    };
    try {
      data::build(doomed);
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

TEST(Build, TextComesBackAndSplitsAreApart) {
  World world;
  world.folder.write("text/copy.txt",
                     base::read_file(world.folder / "text/1003.txt", Exit::fault, ""));
  const BuildResult result = data::build(world.request);
  EXPECT_FALSE(result.up_to_date);
  EXPECT_GT(result.parts_built, 1);
  const data::Dataset set(world.folder / "out");
  const data::SourceInfo &info = set.manifest().sources.at(0);
  EXPECT_EQ(info.files, 31);
  EXPECT_EQ(info.train.documents() + info.validation.documents(), 31);
  EXPECT_GT(info.train.shards.size(), 1U);
  EXPECT_EQ(info.train.text_bytes() + info.validation.text_bytes(), info.file_bytes);
  std::multiset<std::string> expected, held;
  for (const auto &[name, text] : contents(world.folder / "text"))
    (data::held_out(base::hash128(text), 0.2) ? held : expected).insert(text);
  EXPECT_FALSE(held.empty());
  EXPECT_EQ(texts(set, set.train(0)), expected);
  EXPECT_EQ(texts(set, set.validation(0)), held);
}

TEST(Build, TrainsATokenizerOnTrainingTextOnly) {
  World world;
  world.request.options.tokenizer = "";
  world.request.options.vocabulary = 400;
  data::build(world.request);
  data::TokenizerTraining training;
  training.vocabulary = 400;
  data::TokenizerTrainer trainer(training);
  for (const auto &[name, text] : contents(world.folder / "text"))
    if (!data::held_out(base::hash128(text), 0.2)) trainer.add(text);
  EXPECT_EQ(data::Dataset(world.folder / "out").manifest().tokenizer_hash,
            trainer.finish().hash().hex());
}

TEST(Build, SeveralSourcesAndFormats) {
  World world(12);
  std::string lines;
  for (std::uint64_t d = 0; d < 15; ++d)
    lines += "{\"body\": \"" + std::string(d, 'x') + " line " + std::to_string(d) + "\"}\n";
  world.folder.write("more.jsonl", lines);
  data::SourceOptions &more = world.add_source("more", {(world.folder / "more.jsonl").string()});
  more.format = data::TextFormat::jsonl;
  more.field = "body";
  more.weight = 3.0;
  const BuildResult result = data::build(world.request);
  ASSERT_EQ(result.manifest.sources.size(), 2U);
  EXPECT_EQ(result.manifest.sources[1].train.documents() +
                result.manifest.sources[1].validation.documents(),
            15);
  EXPECT_EQ(result.manifest.sources[1].weight, 3.0);
}

TEST(Build, ThreadsDoNotMatter) {
  World one, many;
  one.request.threads = 1;
  many.request.threads = 5;
  EXPECT_EQ(data::build(one.request).manifest.content_hash(),
            data::build(many.request).manifest.content_hash());
}

TEST(Build, ReturnsAtOnceWhenNothingChanged) {
  World world;
  data::build(world.request);
  const auto before = contents(world.folder / "out");
  bool read = false;
  world.request.progress = [&](const data::BuildProgress &) { read = true; };
  EXPECT_TRUE(data::build(world.request).up_to_date);
  EXPECT_FALSE(read);
  EXPECT_EQ(contents(world.folder / "out"), before);
  world.request.options.sources[0].weight = 7.0;
  const BuildResult result = data::build(world.request);
  EXPECT_TRUE(result.up_to_date && result.reweighted);
  EXPECT_FALSE(read);
  EXPECT_EQ(data::read_manifest(world.folder / "out").sources[0].weight, 7.0);
}

TEST(Build, ChangedInputsAreRefusedUnlessAskedFor) {
  World world;
  const BuildResult first = data::build(world.request);
  world.folder.write("text/new.txt", "new words");
  expect_error(error_of([&] { data::build(world.request); }), Exit::data, "E118",
               {"other text (files", "--rebuild"});
  world.request.options.shard_tokens = 500;
  expect_error(error_of([&] { data::build(world.request); }), Exit::data, "E118",
               {"other text and other keys"});
  fs::remove(world.folder / "text/new.txt");
  expect_error(error_of([&] { data::build(world.request); }), Exit::data, "E118",
               {"built from other keys"});
  EXPECT_EQ(data::read_manifest(world.folder / "out").content_hash(), first.manifest.content_hash())
      << "untouched";
  world.request.rebuild = true;
  EXPECT_GT(data::build(world.request).parts_built, first.parts_built);
  int folders = 0;
  for (const auto &entry : fs::directory_iterator(world.folder / "out"))
    folders += entry.is_directory() ? 1 : 0;
  EXPECT_EQ(folders, 1) << "the older shards are gone";
}

TEST(Build, KilledAnywhereGoesOnToTheSameBytes) {
  World world(30, 120);
  data::build(world.request);
  const auto expected = contents(world.folder / "out");
  int kills = 0;
  for (int n = 1;; n += 4) {
    fs::remove_all(world.folder / "out");
    if (!killed_at(world.request, n)) break;
    ++kills;
    EXPECT_FALSE(fs::exists(world.folder / "out/manifest.json"));
    const BuildResult result = data::build(world.request);
    EXPECT_EQ(result.parts_kept + result.parts_built,
              static_cast<std::int64_t>(
                  std::count_if(expected.begin(), expected.end(), [](const auto &file) {
                    return file.first.find(".part.json") != std::string::npos;
                  })));
    if (n > 20) {
      EXPECT_GT(result.parts_kept, 0);
    }
    EXPECT_EQ(contents(world.folder / "out"), expected) << "killed at document " << n;
  }
  EXPECT_GE(kills, 7);
}

TEST(Build, MissingOrDamagedPiecesAreBuiltAgain) {
  base::log::set_console_level(
      base::log::Level::error); // each piece is warned of, which is as it should be
  World world;
  data::build(world.request);
  const auto expected = contents(world.folder / "out");
  for (const auto &[name, bytes] : expected) {
    if (name == "manifest.json" || name.find("tokenizer") != std::string::npos) continue;
    const bool part = name.find(".part.json") != std::string::npos;
    fs::remove(world.folder / "out" / name);
    // Part files serve resumption only: the finished data is whole without them.
    EXPECT_EQ(data::build(world.request).up_to_date, part) << name;
    if (!part) {
      EXPECT_EQ(contents(world.folder / "out"), expected) << name;
    }
    world.folder.write("out/" + name, bytes);
    // A flipped byte in a shard: told apart by its checksum once a build goes on.
    world.folder.write("out/" + name, bytes.substr(0, bytes.size() - 1) + "\x55");
    fs::remove(world.folder / "out/manifest.json");
    EXPECT_FALSE(data::build(world.request).up_to_date);
    EXPECT_EQ(contents(world.folder / "out"), expected) << name;
  }
}

TEST(Build, UnusableDataIsNamedWhenOpened) {
  World world;
  data::build(world.request);
  const auto good = contents(world.folder / "out");
  std::string shard, tokenizer;
  for (const auto &[name, bytes] : good) {
    if (name.find("train.tokens") != std::string::npos) shard = name;
    if (name.find("tokenizer.json") != std::string::npos) tokenizer = name;
  }
  const auto fault = [&](const std::string &name, const std::string &bytes) {
    world.folder.write("out/" + name, bytes);
    const auto error = error_of([&] { data::Dataset(world.folder / "out"); });
    world.folder.write("out/" + name, good.at(name));
    return error;
  };
  std::string flipped = good.at(shard);
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  expect_error(fault(shard, flipped), Exit::data, "E122", {shard, "checksum"});
  expect_error(fault(shard, good.at(shard).substr(0, 100)), Exit::data, "E121",
               {shard, "100 bytes long"});
  data::TokenizerTraining training;
  training.vocabulary = 330;
  data::TokenizerTrainer other(training);
  for (std::uint64_t d = 0; d < 20; ++d) other.add(made_up_text(d, 200));
  expect_error(fault(tokenizer, other.finish().to_json()), Exit::data, "E123",
               {"another tokenizer", "330 ids"});
  fs::remove(world.folder / "out" / tokenizer);
  expect_error(error_of([&] { data::Dataset(world.folder / "out"); }), Exit::data, "E123",
               {"missing"});
  fs::remove(world.folder / "out/manifest.json");
  expect_error(error_of([&] { data::Dataset(world.folder / "out"); }), Exit::data, "E119",
               {"no finished data"});
}

TEST(Build, EmptySourceAndBadOptionsAreRefused) {
  World world(1);
  world.folder.write("empty/a.txt", "  \n");
  world.add_source("empty", {(world.folder / "empty").string()});
  expect_error(error_of([&] { data::build(world.request); }), Exit::data, "E116",
               {"\"empty\"", "1 files (1 empty"});
  EXPECT_FALSE(fs::exists(world.folder / "out/manifest.json"));
  const auto fault = [](auto change) {
    World bad(1);
    change(bad);
    return error_of([&] { data::build(bad.request); });
  };
  expect_error(fault([](World &w) { w.request.options.sources.clear(); }), Exit::deck, "E110",
               {"test.toml", "no [[data.source]]"});
  expect_error(fault([](World &w) { w.add_source("prose", {"x"}); }), Exit::deck, "E110",
               {"prose", "this name"});
  expect_error(fault([](World &w) { w.request.options.sources[0].name = "../x"; }), Exit::deck,
               "E110", {"../x", "letters"});
  expect_error(fault([](World &w) { w.request.options.sources[0].paths.clear(); }), Exit::deck,
               "E110", {"empty list"});
  expect_error(fault([](World &w) { w.request.options.sources[0].weight = 0; }), Exit::deck, "E110",
               {"All weights are 0"});
  expect_error(fault([](World &w) { w.request.options.sources[0].paths = {"/nowhere/at/all"}; }),
               Exit::data, "E111", {"/nowhere/at/all"});
  expect_error(fault([](World &w) { w.request.options.tokenizer = "/nowhere.json"; }), Exit::data,
               "E100", {"/nowhere.json"});
}

TEST(Build, OnlyOneAtATime) {
  World world(2);
  fs::create_directories(world.folder / "out");
  const base::DirectoryLock other(world.folder / "out");
  expect_error(error_of([&] { data::build(world.request); }), Exit::machine, "E070", {"out"});
}

TEST(Build, FullOrClosedDiskIsSaidAndLosesNothing) {
  World world;
  data::build(world.request);
  const auto expected = contents(world.folder / "out");
  fs::remove_all(world.folder / "out");
  // A limit on the size of files stands in for the full disk: the system's answer comes from the same write.
  const auto limited = [&](rlim_t bytes) {
    rlimit old{};
    ::getrlimit(RLIMIT_FSIZE, &old);
    rlimit small = old;
    small.rlim_cur = bytes;
    std::signal(SIGXFSZ, SIG_IGN);
    ::setrlimit(RLIMIT_FSIZE, &small);
    const auto error = error_of([&] { data::build(world.request); });
    ::setrlimit(RLIMIT_FSIZE, &old);
    return error;
  };
  const std::uintmax_t tokenizer = fs::file_size(world.folder / "tokenizer.json");
  expect_error(limited(tokenizer - 1), Exit::data, "E117", {"tokenizer.json", "cannot be written"});
  for (const auto &[name, bytes] : contents(world.folder / "out"))
    EXPECT_EQ(name.find(".tmp"), std::string::npos) << name;
  data::build(world.request);
  EXPECT_EQ(contents(world.folder / "out"), expected);
  world.request.options.directory = world.folder / "tokenizer.json" / "below";
  expect_error(error_of([&] { data::build(world.request); }), Exit::data, "E117",
               {"below", "cannot be made"});
}

TEST(Build, NewlineTokensAreSplitAtTheRate) {
  const data::Tokenizer &tokenizer = small_tokenizer();
  std::int64_t candidates = 0;
  for (Token id = 0; id < tokenizer.size(); ++id)
    candidates += tokenizer.split_newline(id).empty() ? 0 : 1;
  ASSERT_GT(candidates, 0);
  World none, half, whole;
  half.request.options.newline_split = 0.5;
  whole.request.options.newline_split = 1.0;
  const auto count = [&](World &world, bool train) {
    data::build(world.request);
    const data::Dataset set(world.folder / "out");
    const data::DocumentSet &documents = train ? set.train(0) : set.validation(0);
    std::int64_t joined = 0;
    for (std::int64_t d = 0; d < documents.documents(); ++d) {
      std::vector<Token> tokens(static_cast<std::size_t>(documents.length(d)));
      documents.copy(d, 0, documents.length(d), tokens.data());
      for (const Token token : tokens) joined += tokenizer.split_newline(token).empty() ? 0 : 1;
    }
    return joined;
  };
  const std::int64_t all = count(none, true);
  ASSERT_GT(all, 200);
  EXPECT_NEAR(static_cast<double>(count(half, true)) / static_cast<double>(all), 0.5, 0.1);
  // Each place decides for itself, not the document as a whole.
  const data::NewlineSplitter splitter(tokenizer, 0.5, 3);
  const std::string text = made_up_text(77, 2000);
  std::vector<Token> tokens = tokenizer.encode(text), again = tokens, other = tokens;
  const auto joined = [&](const std::vector<Token> &list) {
    return std::count_if(list.begin(), list.end(),
                         [&](Token t) { return !tokenizer.split_newline(t).empty(); });
  };
  splitter.apply(again, base::hash128(text));
  splitter.apply(other, base::hash128("another"));
  EXPECT_EQ(tokenizer.decode(again), text);
  EXPECT_NE(again, other);
  EXPECT_NEAR(static_cast<double>(joined(again)) / static_cast<double>(joined(tokens)), 0.5, 0.15);
  EXPECT_LT(count(whole, true), all / 10); // a part may itself be such a token
  EXPECT_EQ(count(whole, false), count(none, false)) << "validation text is never split";
  const data::Dataset set(whole.folder / "out"), plain(none.folder / "out");
  EXPECT_EQ(texts(set, set.train(0)), texts(plain, plain.train(0)));
}

TEST(Build, ProgressReachesTheEnd) {
  World world;
  data::BuildProgress last;
  world.request.progress = [&](const data::BuildProgress &progress) { last = progress; };
  data::build(world.request);
  EXPECT_EQ(last.stage, "prose");
  EXPECT_EQ(last.bytes, last.bytes_total);
  EXPECT_GT(last.tokens, 0);
  EXPECT_NEAR((data::BuildProgress{"", 25, 100, 0, 2.0, 0}.eta()), 6.0, 1e-9);
  EXPECT_NEAR((data::BuildProgress{"", 50, 100, 0, 2.0, 40}.eta()), 10.0, 1e-9);
  EXPECT_LT((data::BuildProgress{"", 0, 100, 0, 2.0, 0}.eta()), 0.0);
}

TEST(Options, ReadFromADeck) {
  deck::Deck deck =
      deck::Deck::parse("[data]\nvocabulary = 512\n[[data.source]]\nname = \"a\"\npaths = [\"x\", "
                        "\"y\"]\nformat = \"jsonl\"\n"
                        "[[data.source]]\nname = \"b\"\npaths = [\"z\"]\nweight = 2.5\n",
                        "my/tiny.toml");
  const data::Options options = data::read_options(deck);
  deck.finish();
  EXPECT_EQ(options.vocabulary, 512);
  ASSERT_EQ(options.sources.size(), 2U);
  EXPECT_EQ(options.sources[0].format, data::TextFormat::jsonl);
  EXPECT_EQ(options.sources[0].paths.size(), 2U);
  EXPECT_EQ(options.weights(), (std::vector<double>{1.0, 2.5}));
  EXPECT_EQ(data::directory_of(options, deck.path()), fs::path("checkpoints/data/tiny"));
  const auto fault = [](const std::string &text) {
    return error_of([&] {
      deck::Deck bad = deck::Deck::parse(text, "bad.toml");
      data::read_options(bad);
    });
  };
  const std::string source = "[[data.source]]\nname = \"a\"\npaths = [\"x\"]\n";
  expect_error(fault("[data]\n"), Exit::deck, "E110", {"bad.toml"});
  expect_error(fault(source + "weight = -1\n"), Exit::deck, "E007", {"bad.toml:4", "weight"});
  expect_error(fault(source + "format = \"csv\"\n"), Exit::deck, "E008", {"bad.toml:4", "jsonl"});
  expect_error(fault("[[data.source]]\nname = \"a\"\n"), Exit::deck, "E009", {"paths"});
  expect_error(fault("[data]\nfim_rate = 1.5\n" + source), Exit::deck, "E007",
               {"bad.toml:2", "fim_rate"});
}

} // namespace

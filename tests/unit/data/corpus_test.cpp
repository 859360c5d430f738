// SPDX-License-Identifier: Apache-2.0
// Finding files and reading documents.
#include <cstdlib>

#include "data/corpus.hpp"
#include "data/glob.hpp"
#include "data_support.hpp"

namespace {

namespace fs = std::filesystem;
using base::Exit;
using data::matches_name;
using namespace data::test;

std::vector<std::string> found(const TemporaryFolder &folder, const std::vector<std::string> &paths,
                               const std::vector<std::string> &include = {},
                               const std::vector<std::string> &exclude = {}) {
  data::FileQuery query{{}, include, exclude};
  for (const std::string &path : paths) query.paths.push_back((folder / path).string());
  std::vector<std::string> names;
  for (const data::FoundFile &file : data::find_files(query, "source"))
    names.push_back(file.path.lexically_relative(folder.path()));
  return names;
}

using Names = std::vector<std::string>;

TEST(Glob, NamesMatch) {
  EXPECT_TRUE(matches_name("a.txt", "*.txt"));
  EXPECT_TRUE(matches_name("a.txt", "?.t?t"));
  EXPECT_TRUE(matches_name("b7", "[a-c][0-9]"));
  EXPECT_TRUE(matches_name("x", "[!a-c]"));
  EXPECT_TRUE(matches_name("]", "[]]"));
  EXPECT_TRUE(matches_name("[x", "[x"));
  EXPECT_TRUE(matches_name("", "*"));
  EXPECT_FALSE(matches_name("a.txt", "*.tx"));
  EXPECT_FALSE(matches_name("b", "[!a-c]"));
  EXPECT_FALSE(matches_name("", "?"));
  EXPECT_FALSE(matches_name("ab", "a"));
  // Would take ages with a backtracking matcher.
  EXPECT_FALSE(matches_name(std::string(200, 'a'), "*a*a*a*a*a*a*a*a*a*a*a*b"));
}

TEST(Glob, FoldersGlobsAndFilters) {
  const TemporaryFolder folder;
  for (const char *name : {"t/b.txt", "t/a.txt", "t/B.txt", "t/x/deep/c.txt", "t/x/c.md",
                           "t/.hidden/h.txt", "t/.h.txt", "u/d.txt"})
    folder.write(name, "text");
  EXPECT_EQ(found(folder, {"t"}, {"*.txt"}),
            (Names{"t/B.txt", "t/a.txt", "t/b.txt", "t/x/deep/c.txt"}));
  EXPECT_EQ(found(folder, {"t"}, {}, {"*.txt"}), (Names{"t/x/c.md"}));
  EXPECT_EQ(found(folder, {"t/[ab].txt"}), (Names{"t/a.txt", "t/b.txt"}));
  EXPECT_EQ(found(folder, {"**/c.*"}), (Names{"t/x/c.md", "t/x/deep/c.txt"}));
  EXPECT_EQ(found(folder, {"t/**"}, {"c*"}), (Names{"t/x/c.md", "t/x/deep/c.txt"}));
  EXPECT_EQ(found(folder, {"*/x/deep"}), (Names{"t/x/deep/c.txt"}));
  EXPECT_EQ(found(folder, {"t/.h*"}), (Names{"t/.h.txt", "t/.hidden/h.txt"}));
  // A file that the deck names itself is taken whatever the filters say.
  EXPECT_EQ(found(folder, {"t/x/c.md"}, {"*.txt"}), (Names{"t/x/c.md"}));
}

TEST(Glob, LinksAreNotFollowedAndFilesReadOnce) {
  const TemporaryFolder folder;
  folder.write("t/a.txt", "text");
  folder.write("elsewhere/b.txt", "text");
  fs::create_directory_symlink(folder / "elsewhere", folder / "t/link");
  fs::create_symlink(folder / "elsewhere/b.txt", folder / "t/b.txt");
  fs::create_directory_symlink("..", folder / "t/loop");
  fs::create_hard_link(folder / "t/a.txt", folder / "t/z.txt");
  EXPECT_EQ(found(folder, {"t", "t/*", "t/**", "t/a.txt"}), (Names{"t/a.txt"}));
  EXPECT_EQ(found(folder, {"t/link"}), (Names{"t/link/b.txt"})) << "the deck named the link itself";
  fs::create_symlink("self", folder / "self");
  expect_error(error_of([&] { found(folder, {"self"}); }), Exit::data, "E112",
               {"self", "symbolic links"});
}

TEST(Glob, WhatIsMissingIsNamed) {
  const TemporaryFolder folder;
  folder.write("t/a.txt", "text");
  expect_error(error_of([&] {
                 found(folder, {"t", "u"});
               }),
               Exit::data, "E111", {"/u\"", "no such file"});
  expect_error(error_of([&] { found(folder, {"t/*.md"}); }), Exit::data, "E111",
               {"*.md", "no file matches"});
  expect_error(error_of([&] { found(folder, {"t"}, {"*.md"}); }), Exit::data, "E111",
               {"no file matches"});
  expect_error(error_of([&] { found(folder, {"t/a.txt/b"}); }), Exit::data, "E111", {"a.txt/b"});
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(error_of([&] { found(folder, {"pipe"}); }), Exit::data, "E112",
               {"neither a file nor a folder"});
}

// Root may read everything: the test looks on as nobody.
void become(uid_t user) {
  if (::getuid() == 0) {
    ASSERT_EQ(::seteuid(user), 0);
  }
}

TEST(Glob, UnreadableIsAnError) {
  const TemporaryFolder folder;
  folder.write("t/closed/a.txt", "text");
  folder.write("t/b.txt", "text");
  fs::permissions(folder / "t/closed", fs::perms::none);
  become(65534);
  const auto closed_folder = error_of([&] { found(folder, {"t"}); });
  become(0);
  expect_error(closed_folder, Exit::data, "E112", {"t/closed", "Permission denied"});
  fs::permissions(folder / "t/closed", fs::perms::all);
  fs::permissions(folder / "t/b.txt", fs::perms::none);
  become(65534);
  const auto closed_file = error_of([&] { found(folder, {"t"}); });
  become(0);
  expect_error(closed_file, Exit::data, "E112", {"t/b.txt", "Permission denied"});
}

class CorpusTest : public ::testing::Test {
protected:
  data::Corpus open(data::TextFormat format, const std::string &path,
                    data::BadText bad = data::BadText::stop) {
    auto source = deck::defaults<data::SourceOptions>();
    source.name = "prose";
    source.paths = {(folder_ / path).string()};
    source.format = format;
    return data::Corpus(source, bad);
  }
  static Names all(data::Corpus &corpus) {
    Names documents;
    while (auto document = corpus.next()) documents.push_back(*document);
    return documents;
  }
  TemporaryFolder folder_;
};

TEST_F(CorpusTest, TextFiles) {
  folder_.write("t/1", "\xEF\xBB\xBFone\r\n");
  folder_.write("t/2", " \n\t ");
  folder_.write("t/3", "");
  folder_.write("t/4", std::string("nul \0 inside", 12));
  data::Corpus corpus = open(data::TextFormat::text, "t");
  EXPECT_EQ(all(corpus), (Names{"one\r\n", std::string("nul \0 inside", 12)}));
  EXPECT_EQ(corpus.skipped(), (data::Skipped{2, 0}));
  EXPECT_EQ(corpus.bytes_read(), corpus.bytes_total());
}

TEST_F(CorpusTest, BadTextStopsOrIsCounted) {
  folder_.write("t/1", "gut");
  folder_.write("t/2", "sch\xF6n");
  folder_.write("t/3", "\xED\xA0\x80"); // a surrogate
  data::Corpus strict = open(data::TextFormat::text, "t");
  expect_error(error_of([&] { all(strict); }), Exit::data, "E115",
               {"t/2", "not valid UTF-8", "on_bad_text"});
  data::Corpus lenient = open(data::TextFormat::text, "t", data::BadText::skip);
  EXPECT_EQ(all(lenient), (Names{"gut"}));
  EXPECT_EQ(lenient.skipped(), (data::Skipped{0, 2}));
}

TEST_F(CorpusTest, JsonLines) {
  folder_.write("t/1.jsonl", "\xEF\xBB\xBF{\"text\": \"a\\u00e9\\n\"}\r\n\n{\"id\": 2, \"text\": "
                             "\"\"}\n{\"text\": \"b\"}");
  folder_.write("t/2.jsonl", "");
  folder_.write("t/2b.jsonl", "\xEF\xBB\xBF\n");
  folder_.write("t/3.jsonl", "{\"text\": \"c\"}\n");
  folder_.write("t/readme.md", "not JSON");
  data::Corpus corpus = open(data::TextFormat::jsonl, "t");
  EXPECT_EQ(all(corpus), (Names{"a\xC3\xA9\n", "b", "c"}));
  EXPECT_EQ(corpus.skipped(), (data::Skipped{1, 0}));
}

TEST_F(CorpusTest, JsonLinesMendable) {
  const std::string good = "{\"text\": \"a\"}\n";
  const auto fault = [&](const std::string &line, data::BadText bad = data::BadText::stop) {
    folder_.write("x.jsonl", good + line + "\n");
    return error_of([&] {
      data::Corpus corpus = open(data::TextFormat::jsonl, "x.jsonl", bad);
      all(corpus);
    });
  };
  expect_error(fault("{\"text\": \"a\""), Exit::data, "E113", {"x.jsonl:2", "not a JSON object"});
  expect_error(fault("{\"text\": \"\\ud800\"}"), Exit::data, "E113", {"x.jsonl:2"});
  expect_error(fault("{} {}"), Exit::data, "E113", {"x.jsonl:2"});
  expect_error(fault("[1]"), Exit::data, "E113", {"x.jsonl:2", "JSON array"});
  expect_error(fault(std::string(100000, '[')), Exit::data, "E113", {"x.jsonl:2"});
  expect_error(fault("{\"txt\": \"a\", \"id\": 1}"), Exit::data, "E114",
               {"x.jsonl:2", "no field \"text\"", "id, txt"});
  expect_error(fault("{\"text\": 7}"), Exit::data, "E114", {"x.jsonl:2", "is a number"});
  expect_error(fault("{\"text\": \"\xFF\"}"), Exit::data, "E115", {"x.jsonl:2"});
  folder_.write("x.jsonl", good + "{\"text\": \"\xFF\"}\n" + good);
  data::Corpus lenient = open(data::TextFormat::jsonl, "x.jsonl", data::BadText::skip);
  EXPECT_EQ(all(lenient), (Names{"a", "a"}));
  EXPECT_EQ(lenient.skipped().bad, 1);
}

TEST_F(CorpusTest, GoesOnFromAnyPosition) {
  for (const auto format : {data::TextFormat::text, data::TextFormat::jsonl}) {
    for (int i = 0; i < 4; ++i) {
      const std::string d = std::to_string(i);
      folder_.write("t/" + d + ".jsonl", "{\"text\": \"a" + d +
                                             "\"}\n\n{\"text\": \" \"}\n{\"text\": \"b" + d +
                                             "\"}\n");
    }
    data::Corpus corpus = open(format, "t");
    std::vector<data::Position> positions{corpus.tell()};
    Names documents;
    while (auto document = corpus.next()) {
      documents.push_back(*document);
      positions.push_back(corpus.tell());
    }
    ASSERT_EQ(documents.size(), format == data::TextFormat::text ? 4U : 8U);
    for (std::size_t i = 0; i < positions.size(); ++i) {
      data::Corpus again = open(format, "t");
      again.seek(positions[i]);
      EXPECT_EQ(all(again),
                Names(documents.begin() + static_cast<std::ptrdiff_t>(i), documents.end()));
      EXPECT_EQ(again.tell(), corpus.tell());
    }
  }
}

TEST_F(CorpusTest, ChangeIsNoticed) {
  for (const auto format : {data::TextFormat::text, data::TextFormat::jsonl}) {
    folder_.write("t/1.jsonl", "{\"text\": \"a\"}\n");
    data::Corpus corpus = open(format, "t");
    const std::string before = corpus.fingerprint();
    folder_.write("t/1.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n");
    expect_error(error_of([&] { all(corpus); }), Exit::data, "E128", {"t/1.jsonl", "changed"});
    EXPECT_NE(open(format, "t").fingerprint(), before);
  }
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// What a user may type: exit codes and texts.
#include <filesystem>

#include <gtest/gtest.h>

#include "base/files.hpp"
#include "tests/unit/app/hadal.hpp"

namespace {

namespace fs = std::filesystem;

using app_test::hadal, app_test::Outcome;

void expect_refused(const std::vector<std::string> &arguments, int code, const std::string &part) {
  const Outcome outcome = hadal(arguments);
  std::string line;
  for (const std::string &argument : arguments) line += " " + argument;
  EXPECT_EQ(outcome.code, code) << line;
  EXPECT_EQ(outcome.out, "") << line;
  EXPECT_NE(outcome.err.find(part), std::string::npos) << line << ": " << outcome.err;
}

const std::string kDecks = std::string(HADAL_SOURCE_DIR) + "/input/pretrain/";

TEST(CommandLine, HelpsAndNamesItself) {
  EXPECT_EQ(hadal({}).code, 2);
  EXPECT_NE(hadal({}).err.find("Usage: hadal"), std::string::npos);
  const Outcome version = hadal({"--version"});
  EXPECT_EQ(version.code, 0);
  for (const char *part : {"hadal     ", "revision  ", "compiler  ", "Kokkos    ", "oneDNN    "})
    EXPECT_NE(version.out.find(part), std::string::npos) << part << "in\n" << version.out;
  const Outcome help = hadal({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char *command : {"run", "count", "tokenizer", "data"}) {
    EXPECT_NE(help.out.find("\n  " + std::string(command) + " "), std::string::npos) << command;
    EXPECT_EQ(hadal({command, "--help"}).code, 0) << command;
  }
}

TEST(CommandLine, RefusesWhatItDoesNotKnow) {
  expect_refused({"cuont"}, 2, "did you mean count?");
  expect_refused({"data", "bild"}, 2, "did you mean build?");
  expect_refused({"nothing"}, 2, "[E010]");
  expect_refused({"--hlep"}, 2, "[E010]");
  expect_refused({""}, 2, "[E010]");
  expect_refused({"count"}, 2, "DECK is required");
  expect_refused({"data"}, 2, "[E010]");
  expect_refused({"tokenizer", "train", "x"}, 2, "--output is required");
  expect_refused({"run", "a.toml", "--restrat", "none"}, 2, "--restrat");
  expect_refused({"data", "show", ".", "--colour", "red"}, 2, "[E010]");
  expect_refused({"count", kDecks + "tiny.toml", "--sequence", "0"}, 2, "[E010]");
}

TEST(CommandLine, ErrorsHaveTheExitCodeOfTheirKind) {
  expect_refused({"count", "/no/such.toml"}, 2, "/no/such.toml: cannot be read");
  expect_refused({"count", "/no/such.json"}, 2, "[E001]");
  expect_refused({"run", kDecks + "tiny.toml", "train.stpes=2"}, 2, "did you mean steps?");
  expect_refused({"count", kDecks + "tiny.toml", "model.dmi=2", "bathc.sequence=1"}, 2,
                 "did you mean batch?");
  expect_refused({"tokenizer", "encode", "/no/tokenizer.json"}, 6, "[E100]");
  expect_refused({"data", "stats", fs::temp_directory_path().string()}, 6, "[E119]");
}

TEST(CommandLine, CountsDecksAndConfigs) {
  const Outcome outcome = hadal({"count", kDecks + "deepseek_v3.toml"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const char *number : {"671,026,419,200", "11,610,068,224", "36,625,618,432", "70,272",
                             "250,449,887,232", "260,641,652,736", "281,152,192,512"})
    EXPECT_NE(outcome.out.find(number), std::string::npos) << number;
  EXPECT_EQ(hadal({"count", kDecks + "tiny.toml", "model.layers=5", "--sequence", "128"}).code, 0);
}

TEST(CommandLine, TokenizesAndBack) {
  const fs::path file = fs::temp_directory_path() / "hadal_app_tokenizer.json";
  const std::string docs = std::string(HADAL_SOURCE_DIR) + "/docs/";
  const std::string text = docs + "words.md", ids = file.string() + ".ids";
  ASSERT_EQ(hadal({"tokenizer", "train", docs + "errors.md", text, "--output", file.string(),
                   "--vocabulary", "400"})
                .code,
            0);
  const Outcome encoded = hadal({"tokenizer", "encode", file.string(), text});
  ASSERT_EQ(encoded.code, 0) << encoded.err;
  base::write_file_atomic(ids, encoded.out, base::Exit::fault, "E000");
  const Outcome decoded = hadal({"tokenizer", "decode", file.string(), ids});
  EXPECT_EQ(decoded.code, 0);
  EXPECT_EQ(decoded.out, base::read_file(text, base::Exit::fault, "E000"));
  base::write_file_atomic(ids, "1 2 x", base::Exit::fault, "E000");
  expect_refused({"tokenizer", "decode", file.string(), ids}, 6, "[E104]");
  fs::remove(file);
  fs::remove(ids);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of data share: a temporary folder, text made up on the spot, a small trained tokenizer.
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "data/build.hpp"
#include "data/options.hpp"
#include "data/tokenizer.hpp"

namespace data::test {

namespace fs = std::filesystem;

class TemporaryFolder {
public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "hadal_data_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    fs::permissions(path_, fs::perms::all); // tests of permissions look at it as another user
  }
  ~TemporaryFolder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder &) = delete;
  fs::path operator/(const std::string &name) const { return path_ / name; }
  const fs::path &path() const { return path_; }
  fs::path write(const std::string &name, std::string_view text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

private:
  fs::path path_;
};

template <class F> base::UserError error_of(F &&action) {
  try {
    action();
  } catch (const base::UserError &error) {
    return error;
  }
  ADD_FAILURE() << "no error came";
  return base::UserError(base::Exit::ok, "", "", "", "");
}

inline void expect_error(const base::UserError &error, base::Exit code, std::string_view number,
                         const std::vector<std::string> &parts) {
  EXPECT_EQ(error.number(), number) << error.what();
  EXPECT_EQ(error.code(), code) << error.what();
  for (const std::string &part : parts)
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos)
        << "\"" << part << "\" is not in: " << error.what();
}

inline std::uint64_t draw(std::uint64_t seed, std::uint64_t i, std::uint64_t range) {
  return base::random::bits(seed, base::random::Purpose::test, 0, i) % range;
}

// One of 20,000 ideographs: too rare to become one token, so that tokens end inside it.
inline std::string rare_letter(std::uint64_t seed, std::uint64_t i) {
  const auto code = 0x4E00 + draw(seed, i, 20000);
  return {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
          static_cast<char>(0x80 | (code & 0x3F))};
}

// Sentences of made-up words, some of more than one byte a letter; a document differs with its number.
inline std::string made_up_text(std::uint64_t document, int words) {
  static const char *syllables[] = {"ka",  "lo", "mi", "nu", "sé", "tor",
                                    "ven", "wa", "zö", "深", "海", "qi"};
  static const char *ends[] = {" ", " ", " ", " ", ", ", ".\n", ".\n\n", "; ", "):\n    "};
  std::string text;
  for (int w = 0; w < words; ++w) {
    const auto at = static_cast<std::uint64_t>(w) * 8;
    for (std::uint64_t s = 0, n = 1 + draw(document, at, 3); s < n; ++s)
      text += syllables[draw(document, at + 1 + s, 12)];
    if (draw(document, at + 6, 6) == 0) text += rare_letter(document, at + 7);
    text += ends[draw(document, at + 5, 9)];
  }
  return text;
}

inline const Tokenizer &small_tokenizer() {
  static const Tokenizer tokenizer = [] {
    TokenizerTraining training;
    training.vocabulary = 420;
    TokenizerTrainer trainer(training);
    for (std::uint64_t d = 0; d < 40; ++d) trainer.add(made_up_text(d, 200));
    return trainer.finish();
  }();
  return tokenizer;
}

// A folder with text, a tokenizer and options for a build that finds them.
struct World {
  TemporaryFolder folder;
  BuildRequest request;

  explicit World(int documents = 30, int words = 120) {
    const fs::path tokenizer = folder.write("tokenizer.json", small_tokenizer().to_json());
    for (int d = 0; d < documents; ++d)
      folder.write("text/" + std::to_string(1000 + d) + ".txt",
                   made_up_text(static_cast<std::uint64_t>(d), words + d));
    request.options = deck::defaults<Options>();
    request.options.directory = folder / "out";
    request.options.tokenizer = tokenizer;
    request.options.validation = 0.2;
    request.options.shard_tokens = 3000;
    request.deck = "test.toml";
    request.threads = 2;
    add_source("prose", {(folder / "text").string()});
  }
  SourceOptions &add_source(const std::string &name, const std::vector<std::string> &paths) {
    SourceOptions source = deck::defaults<SourceOptions>();
    source.name = name;
    source.paths = paths;
    request.options.sources.push_back(source);
    return request.options.sources.back();
  }
};

// All files below a folder but the lock: path and content.
inline std::map<std::string, std::string> contents(const fs::path &folder) {
  std::map<std::string, std::string> files;
  for (const auto &entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().filename() != ".lock")
      files[fs::relative(entry.path(), folder)] =
          base::read_file(entry.path(), base::Exit::fault, "");
  return files;
}

} // namespace data::test

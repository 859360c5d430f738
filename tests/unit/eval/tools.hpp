// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of evaluation share: a tokenizer, a model that is told what to say, folders with files, numbers of errors.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "base/error.hpp"
#include "eval/evaluate.hpp"
#include "eval/synthetic.hpp"

namespace eval_test {

namespace fs = std::filesystem;

inline const data::Tokenizer &tokenizer() {
  static const data::Tokenizer one = [] {
    data::TokenizerTraining training;
    training.vocabulary = 400;
    data::TokenizerTrainer trainer(training);
    for (std::uint64_t i = 0; i < 400; ++i)
      trainer.add("Question: What is the answer? " + eval::filler_sentence(1, i) + "\nAnswer: A");
    return trainer.finish();
  }();
  return one;
}

inline data::Json row(const std::string &json) { return data::Json::parse(json); }
inline eval::Record record(const std::string &json) { return {row(json), "file.jsonl:7"}; }

template <class F> base::UserError error_of(const F &f) {
  try {
    f();
  } catch (const base::UserError &error) {
    return error;
  }
  return {base::Exit::fault, "none", "", "", ""};
}
template <class F>
void expect_error(const F &f, const std::string &number, const std::string &text) {
  const base::UserError error = error_of(f);
  EXPECT_EQ(error.number(), number) << error.what();
  EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
}

class Folder {
public:
  Folder()
      : path_(fs::temp_directory_path() /
              ("hadal_eval_" + std::to_string(::getpid()) + "_" + std::to_string(next()++))) {
    fs::create_directories(path_);
  }
  ~Folder() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  fs::path write(const std::string &name, const std::string &text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }
  std::string read(const std::string &name) const {
    std::ifstream file(path_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  const fs::path &path() const { return path_; }

private:
  static int &next() {
    static int n = 0;
    return n;
  }
  fs::path path_;
};

// Says what it is told: the answer to a prompt's text, the log-likelihood of a continuation's.
class Puppet : public eval::Model {
public:
  std::function<std::string(const std::string &prompt)> say = [](const auto &) { return ""; };
  std::function<double(const std::string &context, const std::string &continuation)> likes =
      [](const auto &, const auto &) { return -1.0; };
  std::int64_t most = 100000, asked = 0;
  const data::Tokenizer &tokenizer() const override { return eval_test::tokenizer(); }
  std::int64_t longest() const override { return most; }
  std::vector<eval::Likelihood>
  log_likelihoods(const std::vector<eval::Continuation> &requests) override {
    std::vector<eval::Likelihood> all;
    for (const auto &one : requests) {
      ++asked;
      EXPECT_LE(static_cast<std::int64_t>(one.context.size() + one.continuation.size()), most);
      all.push_back(
          {likes(tokenizer().decode(one.context), tokenizer().decode(one.continuation)), false});
    }
    return all;
  }
  std::vector<eval::Generated> generate(const std::vector<eval::Prompt> &prompts) override {
    std::vector<eval::Generated> all;
    for (const auto &one : prompts) {
      ++asked;
      EXPECT_LE(static_cast<std::int64_t>(one.tokens.size()) + one.max_tokens, most);
      all.push_back({say(tokenizer().decode(one.tokens)), 1, true});
    }
    return all;
  }
};

inline fs::path input() { return fs::path(HADAL_SOURCE_DIR) / "input" / "evaluate"; }
inline eval::Options options() {
  auto o = deck::defaults<eval::Options>();
  o.data = (input() / "samples").string();
  return o;
}
inline eval::TaskOptions named(const std::string &name, std::int64_t shots = 1) {
  return {(input() / "tasks" / (name + ".toml")).string(), "", shots, 0};
}

} // namespace eval_test

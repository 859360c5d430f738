// SPDX-License-Identifier: Apache-2.0
// hadal generate --chat on a model of two steps: the layout that goes in, and templates that must not be guessed.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/tiny_run.hpp"

namespace {

namespace fs = std::filesystem;
using support::Outcome;

class GenerateChat : public testing::Test {
protected:
  static void SetUpTestSuite() {
    tiny_ = new support::TinyRun;
    trained_ = tiny_->train("talk", {"train.steps=2"}).code;
  }
  static void TearDownTestSuite() { delete tiny_, tiny_ = nullptr; }
  void SetUp() override { ASSERT_EQ(trained_, 0); }

  static Outcome hadal(std::vector<std::string> words) {
    words.insert(words.begin(), support::hadal());
    return support::run(words, tiny_->folder());
  }
  static Outcome speak(std::vector<std::string> more) {
    std::vector<std::string> words = {"generate", "talk",          "--max-tokens",
                                      "4",        "--temperature", "0"};
    words.insert(words.end(), more.begin(), more.end());
    return hadal(words);
  }
  static fs::path step() {
    for (const auto &entry : fs::directory_iterator(tiny_->at("talk/checkpoints")))
      if (entry.path().filename().string().starts_with("step-")) return entry.path();
    return {};
  }
  static inline support::TinyRun *tiny_ = nullptr;
  static inline int trained_ = -1;
};

TEST_F(GenerateChat, TheModelSeesTheLayout) {
  support::write_text(tiny_->at("chat.json"),
                      R"([{"role":"user","content":"Zebra quiz <｜User｜>"}])");
  const Outcome ids = hadal({"tokenizer", "chat", "talk", "--messages", "chat.json", "--ids"});
  ASSERT_EQ(ids.code, 0) << ids.output;
  const auto spaces = std::count(ids.output.begin(), ids.output.end(), ' ');
  const Outcome said = speak({"--chat", "Zebra quiz <｜User｜>"});
  ASSERT_EQ(said.code, 0) << said.output;
  EXPECT_NE(said.output.find("prompt of " + std::to_string(spaces + 1) + " "), std::string::npos)
      << said.output << ids.output;
  EXPECT_EQ(said.output.find("Zebra"), std::string::npos) << "the answer alone\n" << said.output;
}

TEST_F(GenerateChat, ForeignTemplatesAreRefused) {
  const fs::path file = step() / "chat_template.jinja";
  support::write_text(file, "{{ messages }}");
  const Outcome refused = speak({"--chat", "Hi"});
  EXPECT_EQ(refused.code, 6) << refused.output;
  EXPECT_NE(refused.output.find("E133"), std::string::npos) << refused.output;
  EXPECT_EQ(speak({"--chat", "Hi", "--form", "original"}).code, 0);
  EXPECT_EQ(speak({"--prompt", "Hi"}).code, 0) << "no chat, no template";
  fs::remove(file);
}

TEST_F(GenerateChat, StopsInFrontOfAText) {
  const auto said = [](std::vector<std::string> more) {
    std::vector<std::string> words = {"generate",     "talk", "--prompt",      "<",
                                      "--max-tokens", "40",   "--temperature", "3",
                                      "--top-p",      "1"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = hadal(words);
    EXPECT_EQ(outcome.code, 0) << outcome.output;
    const auto begin = outcome.output.find('<') + 1, end = outcome.output.find(" tokens in ");
    return outcome.output.substr(begin, outcome.output.rfind('\n', end) - begin);
  };
  const std::string whole = said({});
  EXPECT_EQ(said({"--attention", "exact"}), whole);
  const auto letter =
      std::find_if(whole.begin() + 5, whole.end(), [](char c) { return c >= 'a' && c <= 'z'; });
  ASSERT_NE(letter, whole.end()) << whole;
  const std::string stop(1, *letter);
  EXPECT_EQ(said({"--stop", stop}), whole.substr(0, whole.find(stop)));
  EXPECT_EQ(said({"--stop", "not in it", "--stop", stop}), whole.substr(0, whole.find(stop)));
  const Outcome refused =
      hadal({"generate", "talk", "--prompt", "a", "--max-tokens", "2", "--stop", ""});
  EXPECT_EQ(refused.code, 2) << refused.output;
  EXPECT_NE(refused.output.find("E266"), std::string::npos) << refused.output;
}

TEST_F(GenerateChat, ChatOrPrompt) {
  for (const std::vector<std::string> &more : {std::vector<std::string>{},
                                               {"--chat", "a", "--prompt", "b"},
                                               {"--prompt", "a", "--form", "original"}}) {
    const Outcome refused = speak(more);
    EXPECT_EQ(refused.code, 2) << refused.output;
    EXPECT_NE(refused.output.find("E010"), std::string::npos) << refused.output;
  }
}

} // namespace

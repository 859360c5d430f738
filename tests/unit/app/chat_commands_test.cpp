// SPDX-License-Identifier: Apache-2.0
// hadal tokenizer chat and template: what they print and which template decides.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "data/chat_jinja.hpp"
#include "data/tokenizer.hpp"
#include "tests/unit/app/hadal.hpp"

namespace {

namespace fs = std::filesystem;
using data::chat::Form;

using app_test::hadal, app_test::Outcome;

const char *const kMessages =
    R"([{"role":"user","content":"Q"},{"role":"assistant","content":"A"},{"role":"user","content":"<｜User｜>"}])";
const std::string kOriginal =
    "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜>A<｜end▁of▁sentence｜>"
    "<｜User｜><｜User｜>";
const std::string kAssistant = "<｜Assistant｜>";

class ChatCommands : public testing::Test {
protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "hadal-chat-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    data::TokenizerTraining training;
    training.vocabulary = 280;
    training.min_count = 1;
    data::TokenizerTrainer trainer(training);
    trainer.add("one two three, one two three four five");
    write("tokenizer.json", trainer.finish().to_json());
    write("chat.json", kMessages);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(const std::string &name, const std::string &text) {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string at(const std::string &name) const { return (folder_ / name).string(); }
  Outcome chat(std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"tokenizer", "chat", folder_.string(), "--messages",
                                      at("chat.json")};
    words.insert(words.end(), more.begin(), more.end());
    return hadal(words);
  }
  fs::path folder_;
};

TEST_F(ChatCommands, TheTemplateBesideDecides) {
  EXPECT_EQ(chat().out, kOriginal + kAssistant + "\n");
  EXPECT_EQ(chat({"--no-generation-prompt"}).out, kOriginal + kAssistant + "\n")
      << "corrected: the marker is the user's";
  write("chat_template.jinja", data::chat::jinja(Form::original));
  EXPECT_EQ(chat({"--no-generation-prompt"}).out, kOriginal + "\n");
  EXPECT_EQ(chat({"--no-generation-prompt", "--form", "corrected"}).out,
            kOriginal + kAssistant + "\n");
  const Outcome file = hadal({"tokenizer", "chat", at("tokenizer.json"), "--messages",
                              at("chat.json"), "--no-generation-prompt"});
  EXPECT_EQ(file.out, kOriginal + "\n");
}

TEST_F(ChatCommands, ForeignTemplatesAreRefusedUnlessAFormIsNamed) {
  write("tokenizer_config.json", R"({"chat_template":"{{ messages }}"})");
  const Outcome foreign = chat();
  EXPECT_EQ(foreign.code, 6);
  EXPECT_EQ(foreign.out, "");
  EXPECT_NE(foreign.err.find("E133"), std::string::npos) << foreign.err;
  EXPECT_NE(foreign.err.find("{{ messages }}"), std::string::npos) << foreign.err;
  EXPECT_EQ(chat({"--form", "original"}).code, 0);
  EXPECT_EQ(chat({"--form", "chatml"}).code, 2);
}

TEST_F(ChatCommands, IdsAreSafeUnlessAskedOtherwise) {
  const auto tokenizer = data::Tokenizer::load(at("tokenizer.json"));
  const std::string user = std::to_string(tokenizer.id_of("<｜User｜>").value());
  const auto count = [&](const std::string &ids) {
    int found = 0;
    for (auto i = ids.find(user); i != std::string::npos; i = ids.find(user, i + 1)) ++found;
    return found;
  };
  EXPECT_EQ(count(chat({"--ids"}).out), 2);
  EXPECT_EQ(count(chat({"--ids", "--content-specials"}).out), 3);
}

TEST_F(ChatCommands, BadMessagesAreSix) {
  write("chat.json", R"([{"role":"root","content":"Q"}])");
  const Outcome role = chat();
  EXPECT_EQ(role.code, 6);
  EXPECT_NE(role.err.find("E131"), std::string::npos) << role.err;
  EXPECT_NE(role.err.find("messages[0]"), std::string::npos) << role.err;
  write("chat.json", "[");
  EXPECT_EQ(chat().code, 6);
}

TEST_F(ChatCommands, PrintsTemplates) {
  EXPECT_EQ(hadal({"tokenizer", "template"}).out, data::chat::jinja(Form::corrected));
  EXPECT_EQ(hadal({"tokenizer", "template", "--form", "original"}).out,
            data::chat::jinja(Form::original));
  const Outcome config = hadal({"tokenizer", "template", "--config", at("tokenizer.json")});
  EXPECT_EQ(data::chat::form_of(config.out, std::nullopt, "d"), Form::corrected);
}

} // namespace

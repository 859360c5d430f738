// SPDX-License-Identifier: Apache-2.0
// Chat templates of others: recognized by their hash or refused; ours as they go out.
#include "data/chat_jinja.hpp"
#include "data/chat_messages.hpp"
#include "data_support.hpp"

namespace {

using namespace data::test;
using namespace data::chat;
using base::Exit;
using data::Json;

std::string config_with(const std::string &value) { return R"({"chat_template":)" + value + "}"; }

std::string quoted(const std::string &text) {
  std::string out;
  data::write_json_string(out, text);
  return out;
}

TEST(ChatJinja, oursAreThoseOfTheGoldens) {
  const Json file = Json::parse(base::read_file(
      fs::path(HADAL_SOURCE_DIR) / "tests/reference/chat/goldens.json", Exit::fault, ""));
  for (const Form form : {Form::original, Form::corrected})
    EXPECT_EQ(jinja(form), *file.find("jinja")->find(name_of(form))->as<std::string>())
        << "the template was changed: run tools/golden/chat.py again";
}

TEST(ChatJinja, recognizesOursToTheByte) {
  for (const Form form : {Form::original, Form::corrected}) {
    EXPECT_EQ(identify(jinja(form)), form);
    EXPECT_EQ(identify(jinja(form) + "\n"), form)
        << "an editor's line break, which Jinja drops too";
    EXPECT_EQ(identify(jinja(form) + "\n\n"), std::nullopt);
    EXPECT_EQ(identify(" " + jinja(form)), std::nullopt);
    std::string changed = jinja(form);
    changed[changed.size() / 2] ^= 1;
    EXPECT_EQ(identify(changed), std::nullopt);
  }
  EXPECT_EQ(identify(""), std::nullopt);
}

TEST(ChatJinja, refusesWhatItDoesNotKnow) {
  const std::string foreign = "{% for message in messages %}<|im_start|>{{ message['role'] }}";
  const auto error = error_of([&] { require_known(foreign, "model/chat_template.jinja"); });
  expect_error(error, Exit::data, "E133",
               {"model/chat_template.jinja", "{% for message in messages",
                base::hash128(foreign).hex(), "DeepSeek-V3-0324", "--form"});
  expect_error(error_of([] { require_known("\xFF\n\x1b[31m", "x"); }), Exit::data, "E133",
               {"\\xff\\x0a\\x1b"});
}

TEST(ChatJinja, findsTheTemplateInTokenizerConfig) {
  EXPECT_EQ(template_of("{}", "c"), std::nullopt);
  EXPECT_EQ(template_of(config_with("null"), "c"), std::nullopt);
  EXPECT_EQ(template_of(config_with(R"("a\nb")"), "c"), "a\nb");
  EXPECT_EQ(
      template_of(
          config_with(R"([{"name":"tool_use","template":"t"},{"name":"default","template":"d"}])"),
          "c"),
      "d");
  const auto refused = [](const std::string &text, const std::vector<std::string> &parts) {
    expect_error(error_of([&] { template_of(text, "folder/tokenizer_config.json"); }), Exit::data,
                 "E133", parts);
  };
  refused("{", {"folder/tokenizer_config.json", "no valid JSON"});
  refused("[]", {"an array"});
  refused(config_with("3"), {"a whole number"});
  refused(config_with("[]"), {"default"});
  refused(config_with(R"([{"name":"default"}])"), {"name and template"});
  refused(config_with(R"(["t"])"), {"name and template"});
  refused(config_with(R"([{"name":"default","template":"a"},{"name":"default","template":"b"}])"),
          {"Two"});
  refused(R"({"chat_template":"a","chat_template":"b"})", {"twice"});
}

TEST(ChatJinja, theFileCountsBeforeTheConfig) {
  const std::string config = config_with(quoted(jinja(Form::original)));
  EXPECT_EQ(form_of(std::nullopt, std::nullopt, "d"), std::nullopt);
  EXPECT_EQ(form_of("{}", std::nullopt, "d"), std::nullopt);
  EXPECT_EQ(form_of(config, std::nullopt, "d"), Form::original);
  EXPECT_EQ(form_of(config, jinja(Form::corrected), "d"), Form::corrected);
  expect_error(error_of([&] { form_of(config, "else", "d"); }), Exit::data, "E133",
               {"d/chat_template.jinja"});
  expect_error(error_of([&] { form_of(config_with(R"("else")"), std::nullopt, "d"); }), Exit::data,
               "E133", {"d/tokenizer_config.json"});
}

TEST(ChatJinja, tokenizerConfigOfATrainedTokenizer) {
  const std::string text = tokenizer_config_text(small_tokenizer(), Form::corrected, 4096);
  const Json json = Json::parse(text);
  EXPECT_EQ(*json.find("bos_token")->as<std::string>(), "<｜begin▁of▁sentence｜>");
  EXPECT_EQ(*json.find("eos_token")->as<std::string>(), "<｜end▁of▁sentence｜>");
  EXPECT_EQ(*json.find("pad_token")->as<std::string>(), "<｜▁pad▁｜>");
  EXPECT_EQ(*json.find("model_max_length")->as<std::int64_t>(), 4096);
  EXPECT_FALSE(*json.find("clean_up_tokenization_spaces")->as<bool>());
  EXPECT_EQ(form_of(text, std::nullopt, "d"), Form::corrected);
  EXPECT_EQ(Json::parse(tokenizer_config_text(small_tokenizer(), Form::original))
                .find("model_max_length"),
            nullptr);
}

} // namespace

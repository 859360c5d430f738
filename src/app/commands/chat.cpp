// SPDX-License-Identifier: Apache-2.0
// hadal tokenizer chat|template: messages as the model sees them; the layouts as Jinja (docs/chat.md).
#include "app/commands/chat.hpp"

#include <cstdio>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "base/files.hpp"
#include "data/chat_jinja.hpp"
#include "data/chat_messages.hpp"
#include "infer/load.hpp"

namespace app {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;
using data::chat::Form;

constexpr std::size_t kMaxConfig = std::size_t{64} << 20, kMaxMessages = std::size_t{1} << 30;

struct ChatArguments {
  std::string tokenizer, messages, form;
  bool ids = false, no_generation_prompt = false, specials = false;
};

struct TemplateArguments {
  std::string form = "corrected", tokenizer;
};

void write_output(std::string_view bytes) {
  const bool written = std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size();
  if (written && std::fflush(stdout) == 0) return;
  throw UserError(Exit::machine, "E075", "standard output", "cannot be written",
                  "The disk may be full, or the reader of the pipe has ended.");
}

std::optional<std::string> text_in(const fs::path &file) {
  if (!fs::exists(file)) return std::nullopt;
  return base::read_file(file, Exit::data, "E100", kMaxConfig);
}

Form named_or(const std::string &asked, std::optional<Form> found) {
  return data::chat::form_named(asked).value_or(found.value_or(Form::corrected));
}

struct Source {
  data::Tokenizer tokenizer;
  Form form;
};

// A tokenizer.json, a folder that holds one, a checkpoint, or a run with checkpoints.
Source source_of(const ChatArguments &a) {
  const fs::path path = a.tokenizer;
  if (!fs::is_directory(path))
    return {data::Tokenizer::load(path), form_of(a.form, path.parent_path())};
  if (fs::exists(path / "tokenizer.json") && !fs::exists(path / "manifest.json"))
    return {data::Tokenizer::load(path / "tokenizer.json"), form_of(a.form, path)};
  const auto reader = checkpoint::Reader::open(path);
  return {infer::load_tokenizer(reader), form_of(a.form, reader)};
}

int chat(const ChatArguments &a) {
  const auto messages = data::chat::read_messages(
      base::read_file(a.messages, Exit::data, "E130", kMaxMessages), a.messages);
  const Source source = source_of(a);
  const data::chat::Layout layout{source.form, !a.no_generation_prompt};
  if (!a.ids) {
    write_output(data::chat::render(messages, layout, a.messages) + "\n");
    return 0;
  }
  std::string text;
  for (const data::Token token :
       data::chat::encode(messages, source.tokenizer, layout, a.specials, a.messages).tokens)
    text += fmt::format("{}{}", text.empty() ? "" : " ", token);
  write_output(text + "\n");
  return 0;
}

int print_template(const TemplateArguments &a) {
  const Form form = *data::chat::form_named(a.form);
  write_output(a.tokenizer.empty()
                   ? data::chat::jinja(form)
                   : data::chat::tokenizer_config_text(data::Tokenizer::load(a.tokenizer), form));
  return 0;
}

} // namespace

Form form_of(const std::string &asked, const checkpoint::Reader &reader) {
  if (!asked.empty()) return named_or(asked, {});
  return named_or("", data::chat::form_of(reader.text_file("tokenizer_config.json"),
                                          reader.text_file("chat_template.jinja"),
                                          reader.directory().string()));
}

Form form_of(const std::string &asked, const fs::path &folder) {
  if (!asked.empty()) return named_or(asked, {});
  const fs::path here = folder.empty() ? fs::path(".") : folder;
  return named_or("", data::chat::form_of(text_in(here / "tokenizer_config.json"),
                                          text_in(here / "chat_template.jinja"), here.string()));
}

void add_tokenizer_chat(CLI::App &command, Action &action) {
  const auto forms = CLI::IsMember({"original", "corrected"});
  auto a = std::make_shared<ChatArguments>();
  CLI::App *one = command.add_subcommand("chat", "messages as the text that the model sees");
  one->add_option("TOKENIZER", a->tokenizer, "tokenizer.json, a folder with one, or a checkpoint")
      ->required();
  one->add_option("--messages", a->messages, "JSON in the form of OpenAI's API")->required();
  one->add_option("--form", a->form,
                  "original or corrected; by default as the template beside says")
      ->check(forms);
  one->add_flag("--ids", a->ids, "token ids in place of text");
  one->add_flag("--content-specials", a->specials,
                "with --ids: markers spelled in a message become tokens too, as transformers does")
      ->needs("--ids");
  one->add_flag("--no-generation-prompt", a->no_generation_prompt,
                "do not end where the assistant is to speak");
  one->callback([a, &action] { action = [a] { return chat(*a); }; });

  auto t = std::make_shared<TemplateArguments>();
  one = command.add_subcommand("template", "our chat template as Jinja, for other programs");
  one->add_option("--form", t->form, "original or corrected")->capture_default_str()->check(forms);
  one->add_option("--config", t->tokenizer,
                  "a tokenizer.json: print a whole tokenizer_config.json for it");
  one->callback([t, &action] { action = [t] { return print_template(*t); }; });
}

} // namespace app

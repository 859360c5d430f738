// SPDX-License-Identifier: Apache-2.0
#include "data/chat_jinja.hpp"

#include <array>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/json.hpp"

namespace data::chat {

namespace {

constexpr std::string_view kOriginal =
    R"jinja({#- DeepSeek-V3 chats, original form. Only the first call of a conversation opens the list of
    calls, and only later ones close it: models trained so expect it. -#}
{%- set s = namespace(head='', between='', called=false, answered=false, open=false) -%}
{%- for m in messages -%}
  {%- if m['role'] == 'system' -%}
    {%- set s.head = s.head + s.between + m['content'] -%}
    {%- set s.between = '\n\n' -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + s.head -}}
{%- for m in messages -%}
  {%- if m['role'] == 'user' -%}
    {{- '<｜User｜>' + m['content'] -}}
    {%- set s.open = false -%}
  {%- elif m['role'] == 'tool' -%}
    {{- '\n' if s.answered else '<｜tool▁outputs▁begin｜>' -}}
    {{- '<｜tool▁output▁begin｜>' + m['content'] + '<｜tool▁output▁end｜>' -}}
    {%- set s.answered = true -%}
    {%- set s.open = true -%}
  {%- elif m['role'] == 'assistant' and m['tool_calls'] and not m['content'] -%}
    {%- for call in m['tool_calls'] -%}
      {%- set f = call['function'] -%}
      {{- '\n' if s.called else '<｜Assistant｜><｜tool▁calls▁begin｜>' -}}
      {{- '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + f['name'] + '\n```json\n' -}}
      {%- if f['arguments'] is string -%}
        {{- f['arguments'] -}}
      {%- else -%}
        {{- f['arguments'] | tojson -}}
      {%- endif -%}
      {{- '\n```<｜tool▁call▁end｜>' -}}
      {%- if s.called -%}
        {{- '<｜tool▁calls▁end｜><｜end▁of▁sentence｜>' -}}
      {%- endif -%}
      {%- set s.called = true -%}
    {%- endfor -%}
    {%- set s.open = false -%}
  {%- elif m['role'] == 'assistant' -%}
    {{- '<｜tool▁outputs▁end｜>' if s.open else '<｜Assistant｜>' -}}
    {{- m['content'] + '<｜end▁of▁sentence｜>' -}}
    {%- set s.open = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if s.open -%}
  {{- '<｜tool▁outputs▁end｜>' -}}
{%- elif add_generation_prompt -%}
  {{- '<｜Assistant｜>' -}}
{%- endif -%})jinja";

constexpr std::string_view kCorrected =
    R"jinja({#- DeepSeek-V3 chats, corrected form. A user's turn ends with the marker of the assistant; every
    list of calls is closed. -#}
{%- set s = namespace(head='', between='', answered=false, open=false, asked=false) -%}
{%- for m in messages -%}
  {%- if m['role'] == 'system' -%}
    {%- set s.head = s.head + s.between + m['content'] -%}
    {%- set s.between = '\n\n' -%}
  {%- endif -%}
{%- endfor -%}
{{- bos_token + s.head -}}
{%- for m in messages -%}
  {%- if m['role'] == 'user' -%}
    {{- '<｜User｜>' + m['content'] + '<｜Assistant｜>' -}}
    {%- set s.open = false -%}
    {%- set s.asked = true -%}
  {%- elif m['role'] == 'tool' -%}
    {{- '\n' if s.answered else '<｜tool▁outputs▁begin｜>' -}}
    {{- '<｜tool▁output▁begin｜>' + m['content'] + '<｜tool▁output▁end｜>' -}}
    {%- set s.answered = true -%}
    {%- set s.open = true -%}
    {%- set s.asked = false -%}
  {%- elif m['role'] == 'assistant' -%}
    {%- if s.open -%}
      {{- '<｜tool▁outputs▁end｜>' -}}
    {%- endif -%}
    {%- if m['content'] -%}
      {{- m['content'] -}}
    {%- endif -%}
    {%- if m['tool_calls'] -%}
      {{- '<｜tool▁calls▁begin｜>' -}}
      {%- for call in m['tool_calls'] -%}
        {%- set f = call['function'] -%}
        {%- if not loop.first -%}
          {{- '\n' -}}
        {%- endif -%}
        {{- '<｜tool▁call▁begin｜>' + call['type'] + '<｜tool▁sep｜>' + f['name'] + '\n```json\n' -}}
        {%- if f['arguments'] is string -%}
          {{- f['arguments'] -}}
        {%- else -%}
          {{- f['arguments'] | tojson -}}
        {%- endif -%}
        {{- '\n```<｜tool▁call▁end｜>' -}}
      {%- endfor -%}
      {{- '<｜tool▁calls▁end｜>' -}}
      {%- set s.answered = false -%}
    {%- endif -%}
    {{- '<｜end▁of▁sentence｜>' -}}
    {%- set s.open = false -%}
    {%- set s.asked = false -%}
  {%- endif -%}
{%- endfor -%}
{%- if s.open -%}
  {{- '<｜tool▁outputs▁end｜>' -}}
{%- elif add_generation_prompt and not s.asked -%}
  {{- '<｜Assistant｜>' -}}
{%- endif -%})jinja";

struct Known {
  const char *hash, *name;
  std::optional<Form> form;
  const char *trouble = "";
};
// XXH3-128 of texts that others publish (docs/chat.md says where each was seen).
constexpr std::array kKnown = {
    Known{"4539344e06ec0b776878d9ac13b3ef51", "DeepSeek-V3's", Form::original},
    Known{"95a3674f9591c7e09aeb415ffad02d34", "DeepSeek-V3-0324's", Form::corrected},
    Known{
        "199a46deba3d598ecb29760bc7cbaab7", "vLLM's example for DeepSeek-V3", std::nullopt,
        "It writes line breaks and spaces between the markers, so its tokens are neither form's."}};

// Jinja itself passes over one line break at the end, which editors like to add.
std::string hash_of(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return base::hash128(text).hex();
}

const Known *published(const std::string &hash) {
  for (const Known &known : kKnown) {
    if (hash == known.hash) return &known;
  }
  return nullptr;
}

[[noreturn]] void refuse(std::string_view where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::data, "E133", where, read, advice);
}

// A list of named templates: the one called default.
std::string default_of(const Json::Array &list, std::string_view where) {
  const std::string *found = nullptr;
  for (const Json &entry : list) {
    const Json *name = entry.find("name"), *text = entry.find("template");
    if (!name || !text || !name->as<std::string>() || !text->as<std::string>())
      refuse(where, "chat_template: a list",
             "Each entry is an object with the texts name and template.");
    if (*name->as<std::string>() != "default") continue;
    if (found) refuse(where, "chat_template: a list", "Two of its templates are called default.");
    found = text->as<std::string>();
  }
  if (!found) refuse(where, "chat_template: a list", "None of its templates is called default.");
  return *found;
}

} // namespace

std::string jinja(Form form) {
  return std::string(form == Form::original ? kOriginal : kCorrected);
}

std::optional<Form> identify(std::string_view template_text) {
  const std::string hash = hash_of(template_text);
  for (const Form form : {Form::original, Form::corrected}) {
    if (hash == hash_of(jinja(form))) return form;
  }
  const Known *known = published(hash);
  return known ? known->form : std::nullopt;
}

Form require_known(std::string_view template_text, std::string_view where) {
  if (const auto form = identify(template_text)) return *form;
  const std::string hash = hash_of(template_text);
  constexpr std::size_t kShown = 60;
  const std::string read = fmt::format("a chat template that begins {}, hash {}",
                                       shown(template_text.substr(0, kShown)), hash);
  std::string advice = "Templates are not run here, and what one means is not guessed. ";
  if (const Known *known = published(hash))
    advice += fmt::format("This is {}. {} ", known->name, known->trouble);
  refuse(where, read,
         advice + "Known are DeepSeek-V3's (original form), DeepSeek-V3-0324's (corrected form) "
                  "and our own. "
                  "Where you know that the model was trained on one of these forms, give --form.");
}

std::optional<std::string> template_of(std::string_view tokenizer_config, std::string_view where) {
  Json json;
  try {
    json = Json::parse(tokenizer_config);
  } catch (const JsonError &error) {
    refuse(where, error.what(), "tokenizer_config.json is one JSON object.");
  }
  if (!json.as<Json::Object>())
    refuse(where, json.kind(), "tokenizer_config.json is one JSON object.");
  const Json *found = json.find("chat_template");
  if (!found || found->is_null()) return std::nullopt;
  if (const auto *text = found->as<std::string>()) return *text;
  if (const auto *list = found->as<Json::Array>()) return default_of(*list, where);
  refuse(where, fmt::format("chat_template is {}", found->kind()),
         "It is a text, or a list of objects with name and template.");
}

std::optional<Form> form_of(const std::optional<std::string> &tokenizer_config,
                            const std::optional<std::string> &jinja_file, std::string_view where) {
  if (jinja_file) return require_known(*jinja_file, fmt::format("{}/chat_template.jinja", where));
  if (!tokenizer_config) return std::nullopt;
  const std::string file = fmt::format("{}/tokenizer_config.json", where);
  const auto text = template_of(*tokenizer_config, file);
  return text ? std::optional(require_known(*text, file)) : std::nullopt;
}

std::string tokenizer_config_text(const Tokenizer &tokenizer, Form form, std::int64_t max_length) {
  const std::string end = tokenizer.token_bytes(tokenizer.eos());
  const auto pad = tokenizer.id_of("<｜▁pad▁｜>");
  Json::Object members = {
      {"add_bos_token", Json{false}}, // what the program itself does; the chat template writes it
      {"add_eos_token", Json{false}},
      {"bos_token", Json{tokenizer.token_bytes(tokenizer.bos())}},
      {"clean_up_tokenization_spaces", Json{false}},
      {"eos_token", Json{end}},
      {"pad_token", Json{pad ? tokenizer.token_bytes(*pad) : end}},
      {"unk_token", Json{nullptr}},
      {"tokenizer_class", Json{std::string("PreTrainedTokenizerFast")}},
      {"chat_template", Json{jinja(form)}}};
  if (max_length > 0) members.insert(members.begin() + 5, {"model_max_length", Json{max_length}});
  std::string text;
  Json{std::move(members)}.write(text);
  return text + '\n';
}

} // namespace data::chat

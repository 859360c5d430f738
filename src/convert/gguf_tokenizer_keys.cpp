// SPDX-License-Identifier: Apache-2.0
#include <unordered_set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "convert/gguf_keys.hpp"
#include "data/json.hpp"
#include "data/tokenizer.hpp"
#include "data/tokenizer_file.hpp"

namespace convert {
namespace {

using arch::Index;
using checkpoint::gguf::KeyValues;
using data::Json;

// Kinds of tokens.
constexpr std::int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

[[noreturn]] void refuse(const std::string &where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::data, "E148", where, read, advice);
}

struct Tokens {
  std::vector<std::string> texts;
  std::vector<std::int32_t> kinds;
};

Tokens tokens_of(const data::TokenizerFile &file, Index vocabulary) {
  Tokens tokens{file.vocabulary, std::vector<std::int32_t>(file.vocabulary.size(), kNormal)};
  for (const data::AddedToken &added : file.added) {
    const auto id = static_cast<std::size_t>(added.id);
    if (id >= tokens.texts.size()) { // without holes, as the parser has seen
      tokens.texts.emplace_back();
      tokens.kinds.push_back(kNormal);
    }
    tokens.texts[id] = added.content;
    tokens.kinds[id] = added.special ? kControl : kUserDefined;
  }
  // Rows of the embedding that no token uses. Every text must be another.
  const std::unordered_set<std::string> taken(tokens.texts.begin(), tokens.texts.end());
  for (auto id = static_cast<Index>(tokens.texts.size()); id < vocabulary; ++id) {
    std::string text = fmt::format("[PAD{}]", id);
    while (taken.contains(text)) text += '_';
    tokens.texts.push_back(text);
    tokens.kinds.push_back(kUnused);
  }
  return tokens;
}

void require_known(const data::TokenizerFile &file, std::size_t size, Index vocabulary,
                   const std::string &where) {
  if (file.splits != data::deepseek_form().splits)
    refuse(where, "its split patterns are not DeepSeek-V3's",
           "A GGUF file only names its patterns, and llama.cpp has the one set that is known here "
           "as deepseek-v3. Export to Hugging Face carries any tokenizer.json.");
  if (file.ignore_merges)
    refuse(where, "model.ignore_merges = true",
           "llama.cpp merges the pieces of deepseek-v3 always and would make other tokens.");
  if (size > static_cast<std::size_t>(vocabulary))
    refuse(where, fmt::format("{} tokens", size),
           fmt::format("the model has rows for {} (model.vocabulary); it was trained with another "
                       "tokenizer.",
                       vocabulary));
}

std::vector<std::string> merges_of(const data::TokenizerFile &file) {
  std::vector<std::string> merges;
  merges.reserve(file.merges.size());
  const auto text = [&](data::Token id) -> const std::string & {
    return file.vocabulary[static_cast<std::size_t>(id)];
  };
  for (const data::MergePair &pair : file.merges)
    merges.push_back(text(pair.left) + " " + text(pair.right));
  return merges;
}

// Content of tokenizer_config.json, an object; null when there is none.
Json config_of(const checkpoint::Reader &reader) {
  const auto text = reader.text_file("tokenizer_config.json");
  if (!text) return {};
  const std::string where = (reader.directory() / "tokenizer_config.json").string();
  try {
    Json config = Json::parse(*text);
    if (!config.as<Json::Object>())
      refuse(where, fmt::format("is {}", config.kind()), "It must be an object.");
    return config;
  } catch (const data::JsonError &error) {
    refuse(where, "is no JSON", error.what());
  }
}

const Json *member(const Json &config, const char *key) {
  return config.as<Json::Object>() ? config.find(key) : nullptr;
}

bool flag_or(const Json &config, const char *key, bool otherwise) {
  const Json *value = member(config, key);
  return value && value->as<bool>() ? *value->as<bool>() : otherwise;
}

// A token of tokenizer_config.json: its text, or an object with the text as content.
data::Token token_or(const Json &config, const char *key, const data::Tokenizer &tokenizer,
                     data::Token otherwise) {
  const Json *value = member(config, key);
  if (value && value->as<Json::Object>()) value = value->find("content");
  if (!value || !value->as<std::string>()) return otherwise;
  return tokenizer.id_of(*value->as<std::string>()).value_or(otherwise);
}

std::string in_utf8(std::string text, const std::string &where) {
  if (!base::text::valid_utf8(text)) refuse(where, "is not valid UTF-8", "Convert it.");
  return text;
}

// The template of that name "default" where there are several; "" when there is none.
std::string chat_template(const checkpoint::Reader &reader, const Json &config) {
  if (auto text = reader.text_file("chat_template.jinja"))
    return in_utf8(std::move(*text), (reader.directory() / "chat_template.jinja").string());
  const Json *value = member(config, "chat_template");
  if (!value) return "";
  if (const auto *text = value->as<std::string>()) return *text;
  const auto *list = value->as<Json::Array>();
  for (std::size_t i = 0; list && i < list->size(); ++i) {
    const Json &entry = (*list)[i];
    const Json *name = member(entry, "name"), *text = member(entry, "template");
    if (name && text && name->as<std::string>() && *name->as<std::string>() == "default" &&
        text->as<std::string>())
      return *text->as<std::string>();
  }
  return "";
}

} // namespace

void add_tokenizer_keys(const checkpoint::Reader &reader, Index vocabulary, KeyValues &keys) {
  const std::string where = (reader.directory() / "tokenizer.json").string();
  const auto json = reader.text_file("tokenizer.json");
  if (!json)
    refuse(where, "no such file",
           "A GGUF file holds its tokenizer, and this checkpoint has none. Put the tokenizer.json "
           "of its data beside it.");
  const auto file = data::TokenizerFile::parse(*json, where);
  const auto tokenizer = data::Tokenizer::from_json(*json, where);
  require_known(file, static_cast<std::size_t>(tokenizer.size()), vocabulary, where);
  const Json config = config_of(reader);
  keys.add("tokenizer.ggml.model", "gpt2");
  keys.add("tokenizer.ggml.pre", "deepseek-v3");
  const Tokens tokens = tokens_of(file, vocabulary);
  for (const std::string &text : tokens.texts)
    if (text.find('\0') != std::string::npos)
      refuse(where, "token " + data::shown(text), "llama.cpp ends texts at a zero byte.");
  keys.add("tokenizer.ggml.tokens", tokens.texts);
  keys.add("tokenizer.ggml.token_type", tokens.kinds);
  keys.add("tokenizer.ggml.merges", merges_of(file));
  const auto id = [&](const char *key, data::Token token) {
    keys.add(key, static_cast<std::uint32_t>(token));
  };
  const data::Token eos = token_or(config, "eos_token", tokenizer, tokenizer.eos());
  id("tokenizer.ggml.bos_token_id", token_or(config, "bos_token", tokenizer, tokenizer.bos()));
  id("tokenizer.ggml.eos_token_id", eos);
  id("tokenizer.ggml.padding_token_id", token_or(config, "pad_token", tokenizer, eos));
  // Models trained here never saw the begin token before a text (an end token stood there); published ones say that they did.
  keys.add("tokenizer.ggml.add_bos_token", flag_or(config, "add_bos_token", false));
  keys.add("tokenizer.ggml.add_eos_token", flag_or(config, "add_eos_token", false));
  if (const std::string text = chat_template(reader, config); !text.empty())
    keys.add("tokenizer.chat_template", text);
}

} // namespace convert

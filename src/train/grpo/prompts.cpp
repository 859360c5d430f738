// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/prompts.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/chat_messages.hpp"
#include "data/jsonl.hpp"
#include "data/shuffle.hpp"

namespace train::grpo {
namespace {

using base::Exit, base::UserError;
namespace chat = data::chat;

data::Json parse(const data::JsonLine &line) {
  try {
    return data::Json::parse(line.text);
  } catch (const data::JsonError &error) {
    throw UserError(Exit::data, "E130", line.where, error.what(),
                    "a line of this file is one JSON object");
  }
}

chat::Messages messages_of(const data::Json &fields, const std::string &where) {
  if (fields.find("messages")) {
    auto messages = chat::read_messages(fields, where);
    if (messages.empty() || messages.back().role != chat::Role::user)
      throw UserError(Exit::data, "E352", where, "the last turn is not the user's",
                      "a problem ends with what the user asks");
    return messages;
  }
  const data::Json *prompt = fields.find("prompt");
  const std::string *text = prompt ? prompt->as<std::string>() : nullptr;
  if (!text || text->empty())
    throw UserError(Exit::data, "E352", where, "no prompt",
                    "a problem has \"prompt\" (a text that is not empty) or \"messages\"");
  chat::Message message;
  message.content = *text;
  return {message};
}

Problem problem_of(const data::JsonLine &line, const Options &options,
                   const data::Tokenizer &tokenizer, std::int64_t longest) {
  Problem p{parse(line), line.where, {}};
  p.prompt = chat::encode(messages_of(p.fields, line.where), tokenizer, {options.form, true}, false,
                          line.where)
                 .tokens;
  if (static_cast<std::int64_t>(p.prompt.size()) > longest)
    throw UserError(Exit::data, "E353", line.where,
                    fmt::format("the prompt has {} tokens; {} leave room for an answer",
                                p.prompt.size(), longest),
                    "make batch.sequence longer, or leave the problem out");
  return p;
}

} // namespace

Prompts::Prompts(const Options &options, const data::Tokenizer &tokenizer, std::int64_t longest,
                 std::uint64_t seed)
    : seed_(seed) {
  for (const PromptSource &source : options.sources) {
    data::FileQuery query{source.paths, source.include, source.exclude};
    if (query.include.empty()) query.include = {"*.jsonl"};
    data::JsonLines lines(
        data::find_files(query, fmt::format("[[grpo.source]] \"{}\"", source.name)));
    constexpr std::size_t kBytes = std::size_t{16} << 20;
    for (auto batch = lines.next(kBytes); !batch.empty(); batch = lines.next(kBytes))
      for (const data::JsonLine &line : batch)
        problems_.push_back(problem_of(line, options, tokenizer, longest));
  }
  if (problems_.empty())
    throw UserError(Exit::data, "E350", "[grpo]", "the files of [[grpo.source]] have no lines",
                    "give JSONL files with a problem a line");
}

const Problem &Prompts::at(std::int64_t place) const {
  const std::int64_t n = size(), epoch = place / n;
  const data::Shuffle order(static_cast<std::uint64_t>(n), seed_,
                            static_cast<std::uint64_t>(epoch));
  return problems_[order(static_cast<std::uint64_t>(place % n))];
}

std::string Prompts::content_hash() const {
  base::Digest128 hash;
  for (const Problem &p : problems_) {
    std::string text;
    p.fields.write(text);
    text += '\n';
    hash.add(text.data(), text.size());
  }
  return hash.value().hex();
}

std::int64_t Prompts::tokens() const {
  std::int64_t sum = 0;
  for (const Problem &p : problems_) sum += static_cast<std::int64_t>(p.prompt.size());
  return sum;
}

} // namespace train::grpo

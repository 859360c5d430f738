// SPDX-License-Identifier: Apache-2.0
#include "distil/problems.hpp"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "data/chat_messages.hpp"
#include "data/jsonl.hpp"

namespace distil {
namespace {

using base::Exit, base::UserError;
namespace chat = data::chat;

chat::Messages messages_of(const data::Json &fields, const std::string &where) {
  if (fields.find("messages")) return chat::read_messages(fields, where);
  const data::Json *prompt = fields.find("prompt");
  const std::string *text = prompt ? prompt->as<std::string>() : nullptr;
  if (!text || text->empty())
    throw UserError(Exit::data, "E352", where, "no prompt",
                    "a problem has \"prompt\" (a text that is not empty) or \"messages\"");
  chat::Message message;
  message.content = *text;
  return {message};
}

Problem problem_of(const data::JsonLine &line, const SourceOptions &source,
                   const Options &options) {
  Problem p;
  try {
    p.fields = data::Json::parse(line.text);
  } catch (const data::JsonError &error) {
    throw UserError(Exit::data, "E130", line.where, error.what(),
                    "a line of this file is one JSON object");
  }
  p.place = line.where, p.source = source.name;
  p.messages = messages_of(p.fields, line.where);
  (void)chat::segments(p.messages, {}, line.where); // turns in an order that has a meaning
  const auto refuse = [&](const char *why) {
    throw UserError(Exit::data, "E370", line.where, why, "a problem ends with a user's turn");
  };
  if (p.messages.back().role != chat::Role::user) refuse("the last turn is not the user's");
  for (const chat::Message &message : p.messages) {
    if (!message.tool_calls.empty() || message.role == chat::Role::tool)
      refuse("turns with tools are not asked");
    const bool system = message.role == chat::Role::system;
    if (system && std::count(options.forms.begin(), options.forms.end(), "system"))
      refuse("it has a system turn, and the form \"system\" would add another");
  }
  std::string text;
  p.fields.write(text);
  p.key = base::hash128(text).hex();
  return p;
}

} // namespace

Problems read_problems(const Options &options) {
  Problems problems;
  std::set<std::string> seen;
  for (const SourceOptions &source : options.sources) {
    data::FileQuery query{source.paths, source.include, source.exclude};
    if (query.include.empty()) query.include = {"*.jsonl"};
    data::JsonLines lines(
        data::find_files(query, fmt::format("[[distil.source]] \"{}\"", source.name)));
    constexpr std::size_t kBytes = std::size_t{16} << 20;
    for (auto batch = lines.next(kBytes); !batch.empty(); batch = lines.next(kBytes))
      for (const data::JsonLine &line : batch) {
        Problem p = problem_of(line, source, options);
        if (seen.insert(p.key).second)
          problems.all.push_back(std::move(p));
        else
          ++problems.repeated;
      }
  }
  if (problems.all.empty())
    throw UserError(Exit::data, "E370", "[distil]", "the files of [[distil.source]] have no lines",
                    "give JSONL files with a problem a line");
  return problems;
}

std::vector<Question> questions_of(const Problems &problems, const Options &options) {
  std::vector<Question> questions;
  for (const Problem &p : problems.all)
    for (const std::string &form : options.forms) {
      Question q{&p, form, p.key + "/" + form, p.messages};
      if (form == "system") {
        chat::Message system;
        system.role = chat::Role::system, system.content = options.system;
        q.messages.insert(q.messages.begin(), system);
      }
      questions.push_back(std::move(q));
    }
  return questions;
}

} // namespace distil

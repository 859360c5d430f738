// SPDX-License-Identifier: Apache-2.0
#include "data/conversation_turns.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"
#include "data/chat_messages.hpp"
#include "data/json.hpp"

namespace data::turns {
namespace {

using base::Exit;
using base::UserError;
using chat::Encoded;
using chat::Message;
using chat::Messages;
using chat::Role;

Encoded encode(const Messages &messages, const Encoder &encoder, std::string_view where) {
  return chat::encode(messages, encoder.tokenizer, {encoder.form, false}, false, where);
}

// Nothing that the assistant says can change it: what is asked alike falls on one side of the validation.
base::Hash128 question_of(const Messages &messages) {
  std::string text;
  for (const Message &message : messages)
    if (message.role == Role::user)
      text += fmt::format("{}:", message.content->size()) + *message.content;
  return base::hash128(text);
}

// The turns of the assistant are parted by others', so that each is one run of marked tokens.
void mark(Encoded &encoded, TrainOn train_on) {
  std::vector<bool> &marks = encoded.trained;
  if (train_on == TrainOn::all) marks.assign(marks.size(), true);
  if (train_on != TrainOn::last) return;
  std::size_t at = marks.size();
  while (at > 0 && !marks[at - 1]) --at;
  while (at > 0 && marks[at - 1]) --at;
  std::fill(marks.begin(), marks.begin() + static_cast<std::ptrdiff_t>(at), false);
}

[[noreturn]] void refuse_long(const std::string &where, std::size_t tokens,
                              const Encoder &encoder) {
  throw UserError(Exit::data, "E137", where, fmt::format("{} tokens", tokens),
                  fmt::format("A sample has room for {}. Raise batch.sequence, or choose another "
                              "over_long.",
                              encoder.capacity));
}

// Cuts between a user's turns; each piece begins with the system messages and holds as many turns as fit.
void split(const Messages &messages, const Encoder &encoder, const std::string &where, Made &made) {
  const auto fits = [&](const Encoded &encoded) {
    return static_cast<std::int64_t>(encoded.tokens.size()) <= encoder.capacity;
  };
  Messages systems;
  std::vector<Messages> exchanges;
  for (const Message &message : messages) {
    if (message.role == Role::system) {
      systems.push_back(message);
      continue;
    }
    if (message.role == Role::user) exchanges.emplace_back();
    exchanges.back().push_back(message); // the first is a user's
  }
  Messages piece = systems;
  Encoded ready; // of the piece, where it holds a turn
  for (const Messages &exchange : exchanges) {
    const auto with = [&](Messages base) {
      base.insert(base.end(), exchange.begin(), exchange.end());
      return base;
    };
    Messages longer = with(piece);
    Encoded encoded = encode(longer, encoder, where);
    if (!fits(encoded) && !ready.tokens.empty()) {
      made.items.push_back({std::move(ready)});
      ready = {};
      longer = with(systems);
      encoded = encode(longer, encoder, where);
    }
    if (fits(encoded)) {
      piece = std::move(longer);
      ready = std::move(encoded);
    } else { // ready is empty: the turn does not fit alone
      piece = systems;
      ++made.dropped_turns;
    }
  }
  if (!ready.tokens.empty()) made.items.push_back({std::move(ready)});
}

Json parse(const JsonLine &line) {
  try {
    return Json::parse(line.text);
  } catch (const JsonError &error) {
    throw UserError(Exit::data, "E130", line.where, error.what(),
                    "Each line is one whole JSON object (JSONL).");
  }
}

[[noreturn]] void refuse_pair(const std::string &where, const std::string &read,
                              const std::string &advice) {
  throw UserError(Exit::data, "E138", where, read, advice);
}

// A text is one turn of the role; else messages.
Messages turns_of(const Json &json, Role role, const std::string &where) {
  if (const auto *text = json.as<std::string>()) {
    Message message;
    message.role = role;
    message.content = *text;
    return {message};
  }
  if (!json.as<Json::Array>())
    refuse_pair(where, json.kind(), "A text stands here, or a list of messages.");
  return chat::read_messages(json, where);
}

Messages prompt_of(const Json &json, const std::string &where) {
  const Json *prompt = json.find("prompt"), *messages = json.find("messages");
  if ((prompt == nullptr) == (messages == nullptr))
    refuse_pair(where, prompt ? "both \"prompt\" and \"messages\"" : "no \"prompt\"",
                "A pair has what was asked, as prompt (a text or messages) or as messages, and the "
                "answers chosen and rejected.");
  const std::string place = where + (prompt ? ": prompt" : "");
  Messages turns = turns_of(prompt ? *prompt : *messages, Role::user, place);
  require_order(turns, false, place);
  return turns;
}

Encoded answered(const Messages &prompt, const Json &json, const char *name, const Encoder &encoder,
                 const std::string &where) {
  const Json *answer = json.find(name);
  if (!answer)
    refuse_pair(where, fmt::format("no \"{}\"", name),
                "A pair has two answers: chosen and rejected.");
  const std::string place = fmt::format("{}: {}", where, name);
  Messages turns = turns_of(*answer, Role::assistant, place);
  if (turns.empty()) refuse_pair(place, "an empty list", "An answer is one turn at least.");
  turns.insert(turns.begin(), prompt.begin(), prompt.end());
  require_order(turns, true, place);
  Encoded encoded = encode(turns, encoder, place);
  encoded.trained.assign(encoded.tokens.size(), false);
  encoded.trained.back() = true;
  return encoded;
}

} // namespace

void require_order(const Messages &messages, bool answered, std::string_view where) {
  const Message *before = nullptr;
  std::size_t last = 0;
  const auto refuse = [&](std::size_t turn, const std::string &read, const std::string &advice) {
    throw UserError(Exit::data, "E132", fmt::format("{}: messages[{}]", where, turn), read, advice);
  };
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message &message = messages[i];
    if (message.role == Role::system) continue;
    const char *name = chat::name_of(message.role);
    if (!before && message.role != Role::user)
      refuse(i, fmt::format("the {} speaks first", name),
             "The first turn behind the system messages is a user's.");
    if (before && before->role == message.role && message.role != Role::tool)
      refuse(i, fmt::format("two turns of the {} in a row", name), "Join them, or leave one out.");
    if (before && before->role == Role::tool && message.role == Role::user)
      refuse(i, "a user's turn behind a tool's result", "The assistant answers the result first.");
    before = &message;
    last = i;
  }
  if (!before) // the rest of the layout's rules stand in chat::segments
    throw UserError(Exit::data, "E136", where, "no turn of a user or of the assistant",
                    "There is nothing to learn from it. Leave the line out, or set on_bad = "
                    "\"skip\".");
  if (answered != (before->role == Role::assistant))
    refuse(last, fmt::format("the last turn is the {}'s", chat::name_of(before->role)),
           answered ? "Training wants the assistant's answer to it."
                    : "The answers stand under chosen and rejected.");
}

Made conversation(const JsonLine &line, const Encoder &encoder, OverLong over_long,
                  TrainOn train_on) {
  const Messages messages = chat::read_messages(parse(line), line.where);
  if (std::ranges::none_of(messages, [](const Message &m) { return m.role == Role::assistant; }))
    throw UserError(Exit::data, "E136", line.where, "no turn of the assistant",
                    "There is nothing to learn from it. Leave the line out, or set on_bad = "
                    "\"skip\".");
  require_order(messages, true, line.where);
  Encoded whole = encode(messages, encoder, line.where);
  Made made;
  made.question = question_of(messages);
  made.over_long = static_cast<std::int64_t>(whole.tokens.size()) > encoder.capacity;
  if (!made.over_long)
    made.items.push_back({std::move(whole)});
  else if (over_long == OverLong::stop)
    refuse_long(line.where, whole.tokens.size(), encoder);
  else if (over_long == OverLong::split)
    split(messages, encoder, line.where, made);
  for (auto &item : made.items) mark(item.front(), train_on);
  return made;
}

Made pair(const JsonLine &line, const Encoder &encoder, OverLong over_long) {
  const Json json = parse(line);
  if (!json.as<Json::Object>())
    refuse_pair(line.where, json.kind(), "Each line is an object with prompt, chosen, rejected.");
  const Messages prompt = prompt_of(json, line.where);
  std::vector<Encoded> both;
  for (const char *name : {"chosen", "rejected"})
    both.push_back(answered(prompt, json, name, encoder, line.where));
  if (both[0].tokens == both[1].tokens)
    refuse_pair(line.where, "chosen and rejected are equal", "Nothing is preferred to itself.");
  Made made;
  made.question = question_of(prompt);
  const std::size_t tokens = both[0].tokens.size() + both[1].tokens.size();
  made.over_long = static_cast<std::int64_t>(tokens) > encoder.capacity;
  if (!made.over_long)
    made.items.push_back(std::move(both));
  else if (over_long == OverLong::stop)
    refuse_long(line.where, tokens, encoder);
  return made;
}

} // namespace data::turns

// SPDX-License-Identifier: Apache-2.0
#include "data/chat_messages.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include <fmt/format.h>

#include "base/error.hpp"

namespace data::chat {

namespace {

[[noreturn]] void refuse(std::string_view where, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::data, "E131", where, read, advice);
}

bool empty(const Json &value) {
  const auto *array = value.as<Json::Array>();
  return value.is_null() || (array && array->empty());
}

// Keys that are not known are passed over when they say nothing (null, []).
void require_known(const Json &object, std::initializer_list<std::string_view> known,
                   std::string_view where) {
  for (const auto &[key, value] : *object.as<Json::Object>()) {
    if (empty(value) || std::ranges::find(known, key) != known.end()) continue;
    refuse(where, "the key " + shown(key),
           fmt::format("The layout has no place for it. Known here: {}.", fmt::join(known, ", ")));
  }
}

void require_object(const Json &value, std::string_view where) {
  if (!value.as<Json::Object>()) refuse(where, value.kind(), "An object stands here.");
}

const std::string &text_of(const Json &value, std::string_view where, std::string_view key) {
  if (const auto *text = value.as<std::string>()) return *text;
  refuse(where, fmt::format("{} is {}", key, value.kind()), "It is a string.");
}

const Json &member(const Json &object, std::string_view where, const char *key) {
  if (const Json *value = object.find(key)) return *value;
  refuse(where, fmt::format("no \"{}\"", key), "It is needed here.");
}

std::string optional_text(const Json &object, std::string_view where, const char *key) {
  const Json *value = object.find(key);
  return value && !value->is_null() ? text_of(*value, where, key) : "";
}

Role role_of(const Json &message, std::string_view where) {
  const std::string &name = text_of(member(message, where, "role"), where, "role");
  for (const Role role : {Role::system, Role::user, Role::assistant, Role::tool}) {
    if (name == name_of(role)) return role;
  }
  refuse(where, "role " + shown(name), "Roles are system, user, assistant and tool.");
}

// As text it stays as it was written, byte for byte.
std::string arguments_of(const Json &function, std::string_view where) {
  const Json &arguments = member(function, where, "arguments");
  try {
    if (arguments.as<Json::Object>()) return compact_json(arguments);
    const std::string &text = text_of(arguments, where, "arguments");
    if (const Json inner = Json::parse(text); !inner.as<Json::Object>())
      refuse(where, fmt::format("arguments that are {}", inner.kind()),
             "They are a JSON object, as text or as it is.");
    return text;
  } catch (const JsonError &error) {
    refuse(where, fmt::format("arguments: {}", error.what()),
           "They are a JSON object, as text or as it is.");
  }
}

ToolCall call_of(const Json &json, const std::string &where) {
  require_object(json, where);
  require_known(json, {"id", "type", "function", "index"}, where);
  ToolCall call;
  call.id = optional_text(json, where, "id");
  if (const std::string type = optional_text(json, where, "type"); !type.empty()) call.type = type;
  const Json &function = member(json, where, "function");
  const std::string place = where + ".function";
  require_object(function, place);
  require_known(function, {"name", "arguments"}, place);
  call.name = text_of(member(function, place, "name"), place, "name");
  if (call.name.empty()) refuse(place, "an empty name", "Name the function that is called.");
  call.arguments = arguments_of(function, place);
  return call;
}

std::vector<ToolCall> calls_of(const Json &message, const std::string &where) {
  std::vector<ToolCall> calls;
  const Json *json = message.find("tool_calls");
  if (!json || json->is_null()) return calls;
  const auto *list = json->as<Json::Array>();
  if (!list) refuse(where, fmt::format("tool_calls is {}", json->kind()), "It is a list.");
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string place = fmt::format("{}.tool_calls[{}]", where, i);
    ToolCall call = call_of((*list)[i], place);
    const bool twice =
        !call.id.empty() && std::ranges::find(calls, call.id, &ToolCall::id) != calls.end();
    if (twice) refuse(place, "id " + shown(call.id), "A call before it has the same id.");
    calls.push_back(std::move(call));
  }
  return calls;
}

std::optional<std::string> content_of(const Json &message, Role role, bool calls,
                                      const std::string &where) {
  const Json *content = message.find("content");
  const bool may_lack = role == Role::assistant && calls;
  if (!content || content->is_null()) {
    if (may_lack) return std::nullopt;
    refuse(where, content ? "content is null" : "no \"content\"",
           "It is a string. Only an assistant's turn with tool_calls may lack it.");
  }
  if (content->as<Json::Array>())
    refuse(where, "content is an array",
           "Lists of parts are not joined here, since programs differ in how. Give one string.");
  const std::string &text = text_of(*content, where, "content");
  if (may_lack && text.empty()) return std::nullopt;
  return text;
}

Message message_of(const Json &json, const std::string &where) {
  require_object(json, where);
  Message message;
  message.role = role_of(json, where);
  switch (message.role) {
  case Role::assistant:
    require_known(json, {"role", "content", "name", "tool_calls"}, where);
    break;
  case Role::tool: require_known(json, {"role", "content", "name", "tool_call_id"}, where); break;
  default: require_known(json, {"role", "content", "name"}, where);
  }
  optional_text(json, where, "name"); // its kind; the layout does not say it
  message.tool_calls = calls_of(json, where);
  message.content = content_of(json, message.role, !message.tool_calls.empty(), where);
  if (message.role == Role::tool) message.tool_call_id = optional_text(json, where, "tool_call_id");
  return message;
}

void write_number(std::string &out, double value) {
  if (std::abs(value) >= 0x1p63)
    throw JsonError(
        fmt::format("the number {} is beyond 64 bits and might not stay the same", value));
  const std::string digits = fmt::format("{}", value);
  out += digits;
  if (digits.find_first_of(".e") == std::string::npos) out += ".0";
}

void write_compact(std::string &out, const Json &json) {
  if (const auto *text = json.as<std::string>()) return write_json_string(out, *text);
  if (const auto *real = json.as<double>()) return write_number(out, *real);
  if (const auto *array = json.as<Json::Array>()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ", ";
      write_compact(out, (*array)[i]);
    }
    out += ']';
  } else if (const auto *object = json.as<Json::Object>()) {
    out += '{';
    for (std::size_t i = 0; i < object->size(); ++i) {
      if (i > 0) out += ", ";
      write_json_string(out, (*object)[i].first);
      out += ": ";
      write_compact(out, (*object)[i].second);
    }
    out += '}';
  } else {
    json.write(out); // null, true or false, a whole number
  }
}

} // namespace

std::string compact_json(const Json &json) {
  std::string out;
  write_compact(out, json);
  return out;
}

Messages read_messages(const Json &json, std::string_view where) {
  const Json *list = &json;
  if (json.as<Json::Object>()) {
    list = &member(json, where, "messages");
    if (const Json *tools = json.find("tools"); tools && !empty(*tools))
      refuse(where, "the key \"tools\"",
             "The layout of DeepSeek-V3 has no place for descriptions of tools. Put them into a "
             "system "
             "message.");
  }
  const auto *array = list->as<Json::Array>();
  if (!array)
    refuse(where, fmt::format("messages: {}", list->kind()),
           "A list of messages, or an object with the key messages.");
  Messages messages;
  for (std::size_t i = 0; i < array->size(); ++i)
    messages.push_back(message_of((*array)[i], fmt::format("{}: messages[{}]", where, i)));
  return messages;
}

Messages read_messages(std::string_view json, std::string_view where) {
  Json tree;
  try {
    tree = Json::parse(json);
  } catch (const JsonError &error) {
    throw base::UserError(
        base::Exit::data, "E130", where, error.what(),
        "Messages are JSON: {\"messages\": [{\"role\": \"user\", \"content\": \"...\"}]}.");
  }
  return read_messages(tree, where);
}

} // namespace data::chat

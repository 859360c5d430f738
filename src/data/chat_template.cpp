// SPDX-License-Identifier: Apache-2.0
#include "data/chat_template.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.hpp"
#include "data/json.hpp"

namespace data::chat {

namespace {

constexpr const char *kBegin = "<｜begin▁of▁sentence｜>";
constexpr const char *kEnd = "<｜end▁of▁sentence｜>";
constexpr const char *kUser = "<｜User｜>";
constexpr const char *kAssistant = "<｜Assistant｜>";
constexpr const char *kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr const char *kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr const char *kCallBegin = "<｜tool▁call▁begin｜>";
constexpr const char *kCallEnd = "<｜tool▁call▁end｜>";
constexpr const char *kSep = "<｜tool▁sep｜>";
constexpr const char *kOutputsBegin = "<｜tool▁outputs▁begin｜>";
constexpr const char *kOutputsEnd = "<｜tool▁outputs▁end｜>";
constexpr const char *kOutputBegin = "<｜tool▁output▁begin｜>";
constexpr const char *kOutputEnd = "<｜tool▁output▁end｜>";
constexpr std::array kMarkers = {kBegin,      kEnd,         kUser,     kAssistant, kCallsBegin,
                                 kCallsEnd,   kCallBegin,   kCallEnd,  kSep,       kOutputsBegin,
                                 kOutputsEnd, kOutputBegin, kOutputEnd};

constexpr std::array kForms = {"original", "corrected"};
constexpr std::array kRoles = {"system", "user", "assistant", "tool"};

// Text of one kind grows; a marker always stands alone.
class Writer {
public:
  void marker(const char *text, bool trained = false) { out_.push_back({text, trained, true}); }
  void text(std::string_view text, bool trained = false) {
    if (text.empty()) return;
    if (out_.empty() || out_.back().marker || out_.back().trained != trained)
      out_.push_back({"", trained, false});
    out_.back().text += text;
  }
  // Without what stands around it. All of it is the assistant's.
  void call(const ToolCall &call) {
    marker(kCallBegin, true);
    text(call.type, true);
    marker(kSep, true);
    text(call.name + "\n```json\n" + call.arguments + "\n```", true);
    marker(kCallEnd, true);
  }
  void output(const std::string &content) {
    marker(kOutputBegin);
    text(content);
    marker(kOutputEnd);
  }
  // The beginning, then what all system messages say, wherever they stand.
  void head(const Messages &messages) {
    marker(kBegin);
    bool first = true;
    for (const Message &message : messages) {
      if (message.role != Role::system) continue;
      if (!first) text("\n\n");
      text(*message.content);
      first = false;
    }
  }
  std::vector<Segment> take() { return std::move(out_); }

private:
  std::vector<Segment> out_;
};

// As first published: `called` and `answered` are never taken back, so that only the first call of a
// conversation opens the list of calls, every later one closes it, and the first closes nothing.
std::vector<Segment> original(const Messages &messages, bool generation_prompt) {
  Writer out;
  out.head(messages);
  bool called = false, answered = false, open = false; // open: the list of outputs is
  for (const Message &message : messages) {
    if (message.role == Role::user) {
      out.marker(kUser);
      out.text(*message.content);
      open = false;
    } else if (message.role == Role::tool) {
      answered ? out.text("\n") : out.marker(kOutputsBegin);
      out.output(*message.content);
      answered = open = true;
    } else if (message.role == Role::assistant && !message.tool_calls.empty()) {
      for (const ToolCall &call : message.tool_calls) {
        if (called) {
          out.text("\n", true);
          out.call(call);
          out.marker(kCallsEnd, true);
          out.marker(kEnd, true);
        } else {
          out.marker(kAssistant);
          out.marker(kCallsBegin, true);
          out.call(call);
        }
        called = true;
      }
      open = false;
    } else if (message.role == Role::assistant) {
      out.marker(open ? kOutputsEnd : kAssistant);
      out.text(*message.content, true);
      out.marker(kEnd, true);
      open = false;
    }
  }
  if (open) out.marker(kOutputsEnd);
  if (generation_prompt && !open) out.marker(kAssistant);
  return out.take();
}

void corrected_assistant(Writer &out, const Message &message) {
  out.text(message.content.value_or(""), true);
  if (!message.tool_calls.empty()) {
    out.marker(kCallsBegin, true);
    for (std::size_t i = 0; i < message.tool_calls.size(); ++i) {
      if (i > 0) out.text("\n", true);
      out.call(message.tool_calls[i]);
    }
    out.marker(kCallsEnd, true);
  }
  out.marker(kEnd, true);
}

// The marker of the assistant belongs to the user's turn, asked for or not.
std::vector<Segment> corrected(const Messages &messages, bool generation_prompt) {
  Writer out;
  out.head(messages);
  bool answered = false, open = false, asked = false; // asked: a user's turn stands last
  for (const Message &message : messages) {
    if (message.role == Role::system) continue;
    asked = message.role == Role::user;
    if (message.role == Role::user) {
      out.marker(kUser);
      out.text(*message.content);
      out.marker(kAssistant);
      open = false;
    } else if (message.role == Role::tool) {
      answered ? out.text("\n") : out.marker(kOutputsBegin);
      out.output(*message.content);
      answered = open = true;
    } else {
      if (open) out.marker(kOutputsEnd);
      corrected_assistant(out, message);
      if (!message.tool_calls.empty()) answered = false;
      open = false;
    }
  }
  if (open) out.marker(kOutputsEnd);
  if (generation_prompt && !asked && !open) out.marker(kAssistant);
  return out.take();
}

[[noreturn]] void refuse(std::string_view where, std::size_t turn, const std::string &read,
                         const std::string &advice) {
  throw base::UserError(base::Exit::data, "E132", fmt::format("{}: messages[{}]", where, turn),
                        read, advice);
}

void check_assistant(const Message &message, std::size_t turn, Form form, std::string_view where) {
  const bool silent = message.content.value_or("").empty();
  if (silent && message.tool_calls.empty())
    refuse(where, turn, "an assistant's turn that says nothing",
           "Give it content or tool_calls, or leave the turn out.");
  if (form == Form::original && !silent && !message.tool_calls.empty())
    refuse(
        where, turn, "an assistant's turn with text and tool calls",
        "The original form has no place for both: it drops the calls. Take the corrected form, or "
        "make the content null.");
}

// Answers belong to the calls of the assistant's turn before them.
class Answers {
public:
  void begin(const Message &message) {
    open_.clear();
    for (const ToolCall &call : message.tool_calls) open_.push_back(call.id);
  }
  void end() { open_.clear(); }
  void take(const Message &message, std::size_t turn, std::string_view where) {
    if (open_.empty())
      refuse(where, turn, "a tool's result without a call",
             "It stands behind the assistant's turn with its call, one result for each call.");
    auto found = open_.begin();
    if (!message.tool_call_id.empty()) found = std::ranges::find(open_, message.tool_call_id);
    if (found == open_.end())
      refuse(where, turn, "tool_call_id " + shown(message.tool_call_id),
             "No call of the assistant's turn before it has this id and waits for a result.");
    open_.erase(found);
  }

private:
  std::vector<std::string> open_; // ids of calls without a result
};

void check(const Messages &messages, Form form, std::string_view where) {
  if (messages.empty())
    throw base::UserError(base::Exit::data, "E132", where, "no message", "Give one at least.");
  Answers answers;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message &message = messages[i];
    if (message.role == Role::assistant) {
      check_assistant(message, i, form, where);
      answers.begin(message);
      continue;
    }
    if (!message.content)
      refuse(where, i, "no content", "Only a turn with tool_calls may lack it.");
    if (!message.tool_calls.empty())
      refuse(where, i, fmt::format("tool_calls of a {}", name_of(message.role)),
             "Only the assistant calls tools.");
    if (message.role == Role::tool) answers.take(message, i, where);
    if (message.role == Role::user) answers.end();
  }
}

} // namespace

const char *name_of(Form form) { return kForms[static_cast<std::size_t>(form)]; }
const char *name_of(Role role) { return kRoles[static_cast<std::size_t>(role)]; }

std::optional<Form> form_named(std::string_view name) {
  if (name == kForms[0]) return Form::original;
  if (name == kForms[1]) return Form::corrected;
  return std::nullopt;
}

std::vector<Segment> segments(const Messages &messages, const Layout &layout,
                              std::string_view where) {
  check(messages, layout.form, where);
  return layout.form == Form::original ? original(messages, layout.generation_prompt)
                                       : corrected(messages, layout.generation_prompt);
}

std::string render(const Messages &messages, const Layout &layout, std::string_view where) {
  std::string text;
  for (const Segment &segment : segments(messages, layout, where)) text += segment.text;
  return text;
}

std::string missing_marker(const Tokenizer &tokenizer) {
  for (const char *marker : kMarkers) {
    if (!tokenizer.id_of(marker)) return marker;
  }
  return "";
}

Encoded encode(const Messages &messages, const Tokenizer &tokenizer, const Layout &layout,
               bool parse_content_specials, std::string_view where) {
  const std::vector<Segment> parts = segments(messages, layout, where);
  if (const std::string missing = missing_marker(tokenizer); !missing.empty())
    throw base::UserError(base::Exit::data, "E134", where, "the tokenizer has no token " + missing,
                          "Chats need the marker tokens of DeepSeek-V3.");
  Encoded out;
  std::string text, plain; // all of it; since the last marker
  std::vector<bool> trained_bytes;
  const auto flush = [&] {
    const std::vector<Token> tokens = tokenizer.encode(plain);
    out.tokens.insert(out.tokens.end(), tokens.begin(), tokens.end());
    plain.clear();
  };
  for (const Segment &part : parts) {
    text += part.text;
    trained_bytes.resize(text.size(), part.trained);
    if (!part.marker) {
      plain += part.text;
    } else if (!parse_content_specials) {
      flush();
      out.tokens.push_back(*tokenizer.id_of(part.text));
    }
  }
  if (parse_content_specials) {
    out.tokens = tokenizer.encode(text, true);
  } else {
    flush();
  }
  std::size_t at =
      0; // a token counts where it begins: two speakers may share one without a marker between
  for (const Token token : out.tokens) {
    HADAL_CHECK(at < text.size(), "token {} begins at byte {} of {}", token, at, text.size());
    out.trained.push_back(trained_bytes[at]);
    at += tokenizer.token_bytes(token).size();
  }
  HADAL_CHECK(at == text.size(), "{} bytes of tokens for {} of text", at, text.size());
  return out;
}

} // namespace data::chat

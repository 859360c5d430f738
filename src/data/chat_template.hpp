// SPDX-License-Identifier: Apache-2.0
#pragma once
// The chat layout of DeepSeek-V3: messages become text, with roles between marker tokens
// (docs/chat.md). Two forms: `original` as first published, with its oddities about tool calls, and
// `corrected` as published later (V3-0324).
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tokenizer.hpp"

namespace data::chat {

enum class Form { original, corrected };
const char *name_of(Form form);
std::optional<Form> form_named(std::string_view name);

enum class Role { system, user, assistant, tool };
const char *name_of(Role role);

struct ToolCall {
  std::string id; // "": none
  std::string type = "function";
  std::string name;
  std::string arguments; // JSON text of an object; stands in the layout as it is
};

struct Message {
  Role role = Role::user;
  std::optional<std::string> content; // of an assistant's turn with calls it may be missing
  std::vector<ToolCall> tool_calls;   // of the assistant
  std::string tool_call_id;           // of a tool: the call answered; "": the caller did not say
};
using Messages = std::vector<Message>;

struct Layout {
  Form form = Form::corrected;
  bool generation_prompt = true; // end where the assistant is to speak
};

// A piece of the layout. marker: exactly one added token of the tokenizer, written by the layout and
// never by a message. trained: written by the assistant, so that training counts its loss.
struct Segment {
  std::string text;
  bool trained = false, marker = false;
};

// Error E132 (exit code 6) for turns in an order that has no meaning; `where` begins the message.
std::vector<Segment> segments(const Messages &messages, const Layout &layout,
                              std::string_view where = "chat");
std::string render(const Messages &messages, const Layout &layout, std::string_view where = "chat");

struct Encoded {
  std::vector<Token> tokens;
  std::vector<bool> trained; // of each token
};

// Markers become their tokens; what messages say stays text, also where it spells a marker.
// parse_content_specials: such text becomes tokens too, as Hugging Face's apply_chat_template does: for
// comparisons only, since a user could then forge turns. Errors E132; E134: a tokenizer without the markers.
Encoded encode(const Messages &messages, const Tokenizer &tokenizer, const Layout &layout,
               bool parse_content_specials = false, std::string_view where = "chat");
// The first marker that the tokenizer lacks, or "".
std::string missing_marker(const Tokenizer &tokenizer);

} // namespace data::chat

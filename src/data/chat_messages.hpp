// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages from JSON in the form of OpenAI's API, read strictly: what would be lost in the layout is refused.
#include <string>
#include <string_view>

#include "data/chat_template.hpp"
#include "data/json.hpp"

namespace data::chat {

// {"messages": [...]} or the list alone. Errors, exit code 6: E130 (no JSON: damaged, not UTF-8, nested too deep),
// E131 (a part of the wrong kind; `where` and the place in it are named).
Messages read_messages(std::string_view json, std::string_view where);
// The same of a tree, for files that hold many conversations.
Messages read_messages(const Json &json, std::string_view where);

// JSON on one line as Python's json.dumps(ensure_ascii=False) writes it, which is what templates do
// with arguments given as an object. Throws JsonError for numbers that would not stay the same.
std::string compact_json(const Json &json);

} // namespace data::chat

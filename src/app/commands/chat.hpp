// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the commands that render chats share: where the tokenizer and its chat template lie (docs/chat.md).
#include <filesystem>
#include <optional>
#include <string>

#include "app/commands/commands.hpp"
#include "checkpoint/checkpoint.hpp"
#include "data/chat_template.hpp"

namespace app {

// "": by the template that lies beside the tokenizer, corrected where there is none. Error E133: a template that is
// not known.
data::chat::Form form_of(const std::string &asked, const checkpoint::Reader &reader);
data::chat::Form form_of(const std::string &asked, const std::filesystem::path &folder);

// chat and template, below `hadal tokenizer`.
void add_tokenizer_chat(CLI::App &command, Action &action);

} // namespace app

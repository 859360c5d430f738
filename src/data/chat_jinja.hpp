// SPDX-License-Identifier: Apache-2.0
#pragma once
// Chat templates as other programs exchange them, Jinja texts. None is run here: a text is recognized by its hash and
// stands for one of the two forms, or it is refused. Ours go out with models trained here.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "data/chat_template.hpp"

namespace data::chat {

// Our own text of a form; renders as the published one does.
std::string jinja(Form form);

// The form that a template's text stands for; empty: not one that we know.
std::optional<Form> identify(std::string_view template_text);
// The same; error E133 (exit code 6), which names the text's first words, its hash and what is known.
Form require_known(std::string_view template_text, std::string_view where);

// Text of the template in a tokenizer_config.json: chat_template, a string or a list of {name, template} of which
// "default" counts. Empty: there is none. Error E133 when it is something else.
std::optional<std::string> template_of(std::string_view tokenizer_config, std::string_view where);

// The form of a folder or checkpoint by its tokenizer_config.json and chat_template.jinja (the file counts where both
// are there). Empty: neither brings a template. `where`: the folder. Error E133.
std::optional<Form> form_of(const std::optional<std::string> &tokenizer_config,
                            const std::optional<std::string> &jinja_file, std::string_view where);

// tokenizer_config.json for a tokenizer that came without one, as transformers reads it. max_length: of the model,
// 0: not said. Error E105.
std::string tokenizer_config_text(const Tokenizer &tokenizer, Form form,
                                  std::int64_t max_length = 0);

} // namespace data::chat

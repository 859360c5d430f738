// SPDX-License-Identifier: Apache-2.0
// The first byte chooses: messages of a chat, which are laid out in both forms, or a tokenizer_config.json with its template.
#include "data/chat_jinja.hpp"
#include "data/chat_messages.hpp"

#include "tests/fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  namespace chat = data::chat;
  if (size == 0) return 0;
  const std::string_view rest = fuzz::text_of(data + 1, size - 1);
  return fuzz::only_user_errors([&] {
    if (data[0] % 2 == 0) {
      const auto messages = chat::read_messages(rest, "messages.json");
      for (const chat::Form form : {chat::Form::original, chat::Form::corrected}) {
        std::string joined;
        const chat::Layout layout{form, data[0] % 4 == 0};
        fuzz::only_user_errors([&] {
          for (const auto &segment : chat::segments(messages, layout)) joined += segment.text;
          fuzz::require(joined == chat::render(messages, layout), "segments make the text");
        });
      }
    } else if (const auto text = chat::template_of(rest, "tokenizer_config.json")) {
      (void)chat::require_known(*text, "tokenizer_config.json");
    }
  });
}

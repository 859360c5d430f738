// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of conversations share.
#include <memory>
#include <string>
#include <vector>

#include "data/chat_template.hpp"
#include "data/packed_sampler.hpp"
#include "data_support.hpp"

namespace data::test {

inline std::shared_ptr<const Tokenizer> chat_tokenizer() {
  static const auto tokenizer =
      std::make_shared<const Tokenizer>(Tokenizer::from_json(small_tokenizer().to_json(), "test"));
  return tokenizer;
}

inline std::string turn(const std::string &role, const std::string &content) {
  return R"({"role":")" + role + R"(","content":")" + content + "\"}";
}

inline std::string line(const std::vector<std::string> &turns) {
  std::string text = R"({"messages":[)";
  for (std::size_t i = 0; i < turns.size(); ++i) text += (i > 0 ? "," : "") + turns[i];
  return text + "]}\n";
}

// One question and its answer, told apart by number; of many lengths.
inline std::string numbered(int number) {
  std::string answer;
  for (int i = 0; i <= number % 7; ++i) answer += " lomi" + std::to_string(number);
  return line({turn("user", "nu " + std::to_string(number)), turn("assistant", "ka" + answer)});
}

inline ConversationSource source_at(const std::string &name, const fs::path &path) {
  ConversationSource source = deck::defaults<ConversationSource>();
  source.name = name;
  source.paths = {path.string()};
  return source;
}

// A folder with conversations and options that find them.
struct ChatWorld {
  TemporaryFolder folder;
  ChatOptions options = deck::defaults<ChatOptions>();
  std::int64_t sequence = 64;
  std::uint64_t seed = 5;

  explicit ChatWorld(const std::string &lines) {
    options.sources = {source_at("main", folder.write("chats/a.jsonl", lines))};
    options.validation = 0.0;
  }
  ChatSampler open() const { return ChatSampler(options, chat_tokenizer(), sequence, seed); }
};

// Without the markers.
inline std::string text_of(const std::vector<Token> &tokens) {
  std::string text;
  for (const Token token : tokens)
    if (!is_marker(token, *chat_tokenizer())) text += chat_tokenizer()->token_bytes(token);
  return text;
}

// Tokens of one segment, and whether it is padding (nothing in it is trained on, and it is the last).
struct Part {
  std::vector<Token> tokens;
  std::vector<std::uint8_t> trained;
  bool any() const { return std::find(trained.begin(), trained.end(), 1) != trained.end(); }
};

inline std::vector<Part> parts_of(const Sample &sample) {
  std::vector<Part> parts;
  for (std::size_t s = 0; s < sample.segments.size(); ++s) {
    const auto begin = static_cast<std::ptrdiff_t>(sample.segments[s]);
    const auto end = s + 1 < sample.segments.size()
                         ? static_cast<std::ptrdiff_t>(sample.segments[s + 1])
                         : static_cast<std::ptrdiff_t>(sample.tokens.size());
    parts.push_back({{sample.tokens.begin() + begin, sample.tokens.begin() + end},
                     {sample.trained.begin() + begin, sample.trained.begin() + end}});
  }
  return parts;
}

} // namespace data::test

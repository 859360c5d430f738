// SPDX-License-Identifier: Apache-2.0
#include "app/commands/prompt.hpp"

#include <charconv>

#include <fmt/format.h>

#include "app/commands/chat.hpp"
#include "app/commands/habits.hpp"
#include "base/files.hpp"
#include "data/json.hpp"

namespace app {
namespace {

using base::Exit, base::UserError;

// Ids between blanks or line breaks.
std::vector<data::Token> read_tokens(const std::string &file, std::int64_t vocabulary) {
  const std::string text = base::read_file(file, Exit::data, "E100", std::size_t{1} << 28);
  std::vector<data::Token> tokens;
  const char *at = text.data(), *end = at + text.size();
  std::int64_t line = 1;
  const auto skip = [&] {
    for (; at != end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'); ++at)
      line += *at == '\n' ? 1 : 0;
  };
  for (skip(); at != end; skip()) {
    std::int64_t id = -1;
    const auto [stop, error] = std::from_chars(at, end, id);
    const bool whole =
        error == std::errc() &&
        (stop == end || std::string_view(" \t\r\n").find(*stop) != std::string_view::npos);
    if (!whole || id < 0 || id >= vocabulary) {
      const std::string_view rest(at, static_cast<std::size_t>(end - at));
      throw UserError(Exit::data, "E261", fmt::format("{}:{}", file, line),
                      data::shown(rest.substr(0, rest.find_first_of(" \t\r\n")), 30),
                      fmt::format("Token ids are whole numbers from 0 to {}.", vocabulary - 1));
    }
    tokens.push_back(static_cast<data::Token>(id));
    at = stop;
  }
  if (tokens.empty())
    throw UserError(Exit::data, "E261", file, "holds no token", "One id at least is needed.");
  return tokens;
}

} // namespace

std::vector<data::Token> prompt_tokens(const PromptArguments &a, const data::Tokenizer &tokenizer,
                                       const checkpoint::Reader &reader, bool masked,
                                       std::int64_t vocabulary) {
  if (a.kind == PromptArguments::Kind::tokens) return read_tokens(a.file, vocabulary);
  if (a.kind == PromptArguments::Kind::chat) {
    data::chat::Message turn;
    turn.content = a.text;
    return data::chat::encode({turn}, tokenizer, {form_of(a.form, reader), true}, a.special,
                              "--chat")
        .tokens;
  }
  std::vector<data::Token> tokens;
  if (habits_of(reader).bos)
    tokens.push_back(tokenizer.bos());
  else if (!masked || a.text.empty())
    tokens.push_back(tokenizer.eos());
  const auto text = tokenizer.encode(a.text, a.special);
  tokens.insert(tokens.end(), text.begin(), text.end());
  return tokens;
}

} // namespace app

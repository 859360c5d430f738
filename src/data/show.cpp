// SPDX-License-Identifier: Apache-2.0
#include "data/show.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "base/text.hpp"

namespace data {
namespace {

// Hues of the parts of a document that was rewritten for fill-in-the-middle (ANSI 256-colour foregrounds).
enum class Hue { plain = 252, prefix = 114, suffix = 110, middle = 221, mark = 203 };

constexpr std::string_view kReset = "\x1b[0m";

std::string paint(Hue hue, bool second_shade, const std::string &text) {
  // A background that ran over the end of a line would fill the terminal's rest of it.
  const std::string start =
      fmt::format("\x1b[38;5;{};48;5;{}m", static_cast<int>(hue), second_shade ? 238 : 235);
  std::string out = start;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') out += kReset;
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += start;
  }
  return text.ends_with('\n') ? out : out + std::string(kReset);
}

// What a token that is no text is called, and the hue of what follows it.
struct Mark {
  std::string name;
  Hue next;
};

std::optional<Mark> mark_of(Token token, const Tokenizer &tokenizer, Hue hue) {
  if (token == tokenizer.eos()) return Mark{"end", Hue::plain};
  if (token == tokenizer.fim_begin()) return Mark{"prefix", Hue::prefix};
  if (token == tokenizer.fim_hole()) return Mark{"suffix", Hue::suffix};
  if (token == tokenizer.fim_end()) return Mark{"middle", Hue::middle};
  if (tokenizer.is_special(token)) return Mark{visible(tokenizer.token_bytes(token)), hue};
  return std::nullopt;
}

} // namespace

std::string visible(std::string_view bytes) {
  const bool whole = base::text::valid_utf8(bytes);
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
      out += "⏎\n";
    else if (c == '\t')
      out += "⇥";
    else if (c == '\r')
      out += "␍";
    else if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !whole))
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  // C1 controls (U+0080 to U+009F) command terminals as well as ESC does.
  for (std::size_t at = 0; whole && (at = out.find('\xC2', at)) != std::string::npos; ++at)
    if (at + 1 < out.size() && static_cast<unsigned char>(out[at + 1]) < 0xA0)
      out.replace(at, 2, fmt::format("\\u{:04x}", static_cast<unsigned char>(out[at + 1])));
  return out;
}

std::string render(const Sample &sample, const Tokenizer &tokenizer, bool colour) {
  std::string out;
  Hue hue = Hue::plain;
  bool border = false; // plain text: is a | due before the next token?
  for (std::size_t i = 0; i < sample.tokens.size(); ++i) {
    const Token token = sample.tokens[i];
    const bool shade = i % 2 == 1;
    if (i > 0 && std::binary_search(sample.segments.begin(), sample.segments.end(),
                                    static_cast<std::int32_t>(i))) {
      out += colour ? "\x1b[1;38;5;203m⟨mask⟩\x1b[0m\n" : "⟨mask⟩\n";
      border = false;
    }
    if (const std::optional<Mark> mark = mark_of(token, tokenizer, hue)) {
      const std::string text = "⟨" + mark->name + "⟩" + (token == tokenizer.eos() ? "\n" : "");
      out += colour ? paint(Hue::mark, shade, text) : text;
      hue = mark->next;
      border = false;
      continue;
    }
    const std::string text = visible(tokenizer.token_bytes(token));
    if (colour)
      out += paint(hue, shade, text);
    else
      out += (border ? "|" : "") + text;
    border = true;
  }
  return out;
}

std::string show(const Sampler &sampler, const ShowRequest &request) {
  const std::int64_t available = sampler.validation_samples();
  if (request.validation &&
      (request.first < 0 || request.count < 0 || request.count > available - request.first))
    throw base::UserError(base::Exit::data, "E129", "",
                          fmt::format("validation samples {} to {}", request.first,
                                      request.first + request.count - 1),
                          fmt::format("There are {}, counted from 0.", available));
  Cursor cursor = sampler.start();
  if (!request.validation) sampler.skip(cursor, request.first);
  std::string out;
  for (std::int64_t i = request.first; i < request.first + request.count; ++i) {
    const Sample sample =
        request.validation ? sampler.validation(i) : sampler.next(cursor, 1).at(0);
    const std::size_t bytes = sampler.tokenizer().decode(sample.tokens, true).size();
    const auto ends =
        std::count(sample.tokens.begin(), sample.tokens.end(), sampler.tokenizer().eos());
    out += fmt::format(
        "{}{} sample {} | source {} | {} tokens | {} bytes of text | {} document ends{}\n",
        request.colour ? "\x1b[1m" : "", request.validation ? "validation" : "training", i,
        sampler.source_names()[static_cast<std::size_t>(sample.source)], sample.tokens.size(),
        bytes, ends, request.colour ? "\x1b[0m" : "");
    out += render(sample, sampler.tokenizer(), request.colour) + "\n\n";
  }
  out += request.colour ? "shades alternate from token to token; ⟨end⟩ closes a document; "
                        : "| stands between tokens; ⟨end⟩ closes a document; ";
  return out + "⟨mask⟩: what follows does not see what precedes; ⟨prefix⟩ ⟨suffix⟩ ⟨middle⟩: "
               "fill-in-the-middle; ⏎ line break\n";
}

} // namespace data

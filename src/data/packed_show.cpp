// SPDX-License-Identifier: Apache-2.0
#include "data/packed_show.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.hpp"

namespace data {
namespace {

constexpr std::int64_t kFarthestEpoch = 1000;
constexpr std::string_view kReset = "\x1b[0m";

// "<｜User｜>" is called User; begin and end of a sentence have names of their own.
std::string name_of(Token token, const Tokenizer &tokenizer) {
  if (token == tokenizer.eos()) return "end";
  if (token == tokenizer.bos()) return "begin";
  std::string text = tokenizer.token_bytes(token);
  constexpr std::string_view open = "<｜", close = "｜>";
  if (text.starts_with(open) && text.ends_with(close) && text.size() > open.size() + close.size())
    text = text.substr(open.size(), text.size() - open.size() - close.size());
  return visible(text);
}

// Bright or dim, in two shades so that tokens are told apart; never over the end of a line, whose rest a background would fill.
std::string paint(const std::string &text, bool trained, bool second) {
  const std::string start = trained ? fmt::format("\x1b[1;38;5;{}m", second ? 229 : 220)
                                    : fmt::format("\x1b[38;5;{}m", second ? 245 : 240);
  std::string out = start;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') out += kReset;
    out += text[i];
    if (text[i] == '\n' && i + 1 < text.size()) out += start;
  }
  return text.ends_with('\n') ? out : out + std::string(kReset);
}

struct Segment {
  std::size_t begin, end;
  std::int64_t trained;
  bool padding;
};

std::vector<Segment> segments_of(const Sample &sample) {
  std::vector<Segment> segments;
  for (std::size_t s = 0; s < sample.segments.size(); ++s) {
    const auto begin = static_cast<std::size_t>(sample.segments[s]);
    const std::size_t end = s + 1 < sample.segments.size()
                                ? static_cast<std::size_t>(sample.segments[s + 1])
                                : sample.tokens.size();
    const auto first = sample.trained.begin();
    const auto trained = std::count(first + static_cast<std::ptrdiff_t>(begin),
                                    first + static_cast<std::ptrdiff_t>(end), std::uint8_t{1});
    // Every conversation has something to train on; padding is the last segment, and has nothing.
    segments.push_back({begin, end, trained, s + 1 == sample.segments.size() && trained == 0});
  }
  return segments;
}

std::string head_of(const Sample &sample, std::size_t segment, const Segment &part) {
  if (part.padding) return fmt::format("⟨padding: {} tokens⟩", part.end - part.begin);
  if (sample.pairs > 0)
    return fmt::format("⟨pair {}, {}: {} tokens⟩", segment / 2,
                       segment % 2 == 0 ? "chosen" : "rejected", part.end - part.begin);
  return fmt::format("⟨conversation {}: {} tokens, {} trained on⟩", segment, part.end - part.begin,
                     part.trained);
}

std::string body_of(const Sample &sample, const Segment &part, const Tokenizer &tokenizer,
                    bool colour) {
  std::string out;
  bool inside = false, border = false;
  for (std::size_t i = part.begin; i < part.end; ++i) {
    const Token token = sample.tokens[i];
    const bool trained = sample.trained[i] != 0, special = is_marker(token, tokenizer);
    const std::string text =
        special ? "⟨" + name_of(token, tokenizer) + "⟩" : visible(tokenizer.token_bytes(token));
    if (colour) {
      out += paint(text, trained, i % 2 == 1);
      continue;
    }
    if (trained != inside) {
      out += trained ? "⟦" : "⟧";
      border = false;
    }
    inside = trained;
    out += (border && !special ? "|" : "") + text;
    border = !special;
  }
  return out + (inside && !colour ? "⟧" : "");
}

std::string head_line(const PackedSampler &sampler, const Sample &sample, std::int64_t index,
                      const ShowRequest &request) {
  std::int64_t items = 0, trained = 0, padding = 0;
  for (const Segment &part : segments_of(sample)) {
    items += part.padding ? 0 : 1;
    trained += part.trained;
    if (part.padding) padding = static_cast<std::int64_t>(part.end - part.begin);
  }
  const auto tokens = static_cast<double>(sample.tokens.size());
  return fmt::format(
      "{}{} sample {} | {} {} | {} tokens | {} trained on ({:.1f} %) | padding {:.1f} "
      "%{}\n",
      request.colour ? "\x1b[1m" : "", request.validation ? "validation" : "training", index,
      sampler.pairs() ? items / 2 : items, sampler.pairs() ? "pairs" : "conversations",
      sample.tokens.size(), trained, 100.0 * static_cast<double>(trained) / tokens,
      100.0 * static_cast<double>(padding) / tokens, request.colour ? "\x1b[0m" : "");
}

void check_range(const PackedSampler &sampler, const ShowRequest &request) {
  const std::int64_t most =
      request.validation ? sampler.validation_samples() : kFarthestEpoch * sampler.samples_of(1);
  if (request.first >= 0 && request.count >= 0 && request.first <= most &&
      request.count <= most - request.first)
    return;
  throw base::UserError(base::Exit::data, "E129", "",
                        fmt::format("{} samples from {} on", request.count, request.first),
                        request.validation
                            ? fmt::format("There are {} for validation, counted from 0.", most)
                            : fmt::format("Up to {} are shown, {} epochs.", most, kFarthestEpoch));
}

} // namespace

std::string render_packed(const Sample &sample, const Tokenizer &tokenizer, bool colour) {
  std::string out;
  const std::vector<Segment> segments = segments_of(sample);
  for (std::size_t s = 0; s < segments.size(); ++s) {
    const std::string head = head_of(sample, s, segments[s]);
    out += (s > 0 ? "\n" : "") + (colour ? "\x1b[1;38;5;203m" + head + "\x1b[0m" : head);
    if (!segments[s].padding) out += "\n" + body_of(sample, segments[s], tokenizer, colour);
  }
  return out;
}

std::string show(const PackedSampler &sampler, const ShowRequest &request) {
  check_range(sampler, request);
  Cursor cursor = sampler.start();
  if (!request.validation) sampler.skip(cursor, request.first);
  std::string out;
  for (std::int64_t i = request.first; i < request.first + request.count; ++i) {
    const Sample sample =
        request.validation ? sampler.validation(i) : sampler.next(cursor, 1).at(0);
    out += head_line(sampler, sample, i, request);
    out += render_packed(sample, sampler.tokenizer(), request.colour) + "\n\n";
  }
  out += request.colour ? "bright: its loss counts; dim: it does not; shades alternate from token "
                          "to token; "
                        : "⟦ ⟧ stand about what is trained on, | between tokens; ";
  return out + (sampler.pairs() ? "the score is read at the marked token; " : "") +
         "segments do not see each other; ⏎ line break\n";
}

} // namespace data

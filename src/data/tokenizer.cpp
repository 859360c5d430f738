// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.hpp"

#include <algorithm>
#include <atomic>
#include <limits>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "data/byte_alphabet.hpp"
#include "data/tokenizer_impl.hpp"
#include "data/unicode.hpp"
#include "data/word_cache.hpp"

namespace data {

namespace {

constexpr std::size_t kMaxFile = std::size_t{1} << 30;

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

Bpe make_bpe(const TokenizerFile &file) {
  std::unordered_map<std::string_view, Token> ids;
  for (std::size_t i = 0; i < file.vocabulary.size(); ++i) {
    if (file.vocabulary[i].size() <= 2) ids.emplace(file.vocabulary[i], static_cast<Token>(i));
  }
  std::array<Token, 256> byte_ids{};
  for (int b = 0; b < 256; ++b) {
    const auto byte = static_cast<unsigned char>(b);
    byte_ids[byte] = ids.at(byte_alphabet::text_of(byte));
  }
  std::vector<Bpe::Rule> rules;
  rules.reserve(file.merges.size());
  for (const MergePair &merge : file.merges)
    rules.push_back({merge.left, merge.right, merge.merged});
  return Bpe(byte_ids, rules);
}

} // namespace

Tokenizer::Impl::Impl(TokenizerFile &&contents, std::string_view name)
    : file(std::move(contents)), where(name), number(next_number()), splitter(file.splits),
      bpe(make_bpe(file)) {
  for (const std::string &text : file.vocabulary) {
    begins.push_back(bytes.size());
    bytes += byte_alphabet::to_bytes(text).value_or(
        text); // as others do: a token outside the alphabet stands for its text
  }
  for (const AddedToken &token : file.added) {
    const auto id = static_cast<std::size_t>(token.id);
    if (id >= begins.size()) {
      begins.push_back(bytes.size());
      bytes += token.content;
    }
  }
  begins.push_back(bytes.size());
  special.resize(begins.size() - 1);
  added.resize(begins.size() - 1);
  for (const AddedToken &token : file.added) {
    const auto id = static_cast<std::size_t>(token.id);
    special[id] = token.special;
    added[id] = true;
    added_ids.emplace(token.content, token.id);
    (token.normalized ? normalized : raw).add(token.content, token.id);
  }
  if (file.ignore_merges) {
    for (std::size_t id = 0; id < file.vocabulary.size(); ++id)
      whole.emplace(bytes_of(static_cast<Token>(id)), id);
  }
  bos = one_of({"<｜begin▁of▁sentence｜>", "<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>"});
  eos = one_of({"<｜end▁of▁sentence｜>", "<|end_of_text|>", "</s>", "<eos>", "<|endoftext|>"});
  fim_begin = one_of({"<｜fim▁begin｜>", "<|fim_prefix|>", "<fim_prefix>"});
  fim_hole = one_of({"<｜fim▁hole｜>", "<|fim_suffix|>", "<fim_suffix>"});
  fim_end = one_of({"<｜fim▁end｜>", "<|fim_middle|>", "<fim_middle>"});
  for (std::size_t i = 0; i < file.vocabulary.size(); ++i) {
    const auto id = static_cast<Token>(i);
    const std::string_view text = bytes_of(id);
    if (added[i] || text.empty() || (text.back() != '\n' && text.back() != '\r')) continue;
    const std::size_t cut = text.find_last_not_of("\r\n");
    if (cut == std::string_view::npos || unicode::first_invalid(text) != unicode::kValid) continue;
    std::size_t begin = cut; // of the last character before the line breaks
    while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (unicode::ClassTable::get().of(unicode::decode(text.data() + begin).code_point) !=
        unicode::Class::punct)
      continue;
    std::vector<Token> &parts = newline_parts[id];
    encode_piece(text.substr(0, cut + 1), parts);
    encode_piece(text.substr(cut + 1), parts);
  }
}

std::string_view Tokenizer::Impl::bytes_of(Token id) const {
  const auto i = static_cast<std::size_t>(id);
  if (id < 0 || i + 1 >= begins.size()) {
    throw base::UserError(
        base::Exit::data, "E104", where, fmt::format("token {}", id),
        fmt::format("is not in the tokenizer, whose ids are 0 to {}", begins.size() - 2));
  }
  return std::string_view(bytes).substr(begins[i], begins[i + 1] - begins[i]);
}

std::optional<Token> Tokenizer::Impl::one_of(std::initializer_list<const char *> contents) const {
  for (const char *content : contents) {
    if (const auto found = added_ids.find(content); found != added_ids.end()) return found->second;
  }
  return std::nullopt;
}

void Tokenizer::Impl::encode_piece(std::string_view piece, std::vector<Token> &out) const {
  if (file.ignore_merges) {
    if (const auto found = whole.find(piece); found != whole.end())
      return out.push_back(found->second);
  }
  bpe.encode(piece, out);
}

void Tokenizer::Impl::encode_text(std::string_view text, std::vector<Token> &out) const {
  static thread_local std::vector<std::uint32_t> ends;
  ends.clear();
  try {
    splitter.split(text, ends);
  } catch (const PatternError &error) { // steps or memory that a pattern may take
    throw base::UserError(base::Exit::data, "E106", where, "the split patterns on this text",
                          error.what());
  }
  WordCache &cache = WordCache::of(number);
  std::size_t begin = 0;
  for (const std::uint32_t end : ends) {
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (piece.size() > WordCache::kMaxBytes) {
      encode_piece(piece, out);
      continue;
    }
    bool hit;
    WordCache::Slot &slot = cache.find(piece, hit);
    if (hit) {
      out.insert(out.end(), slot.tokens, slot.tokens + slot.count);
    } else {
      const std::size_t first = out.size();
      encode_piece(piece, out);
      WordCache::store(slot, piece, std::span(out).subspan(first));
    }
  }
}

Tokenizer::Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer &&) noexcept = default;
Tokenizer &Tokenizer::operator=(Tokenizer &&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const std::filesystem::path &path) {
  return from_json(base::read_file(path, base::Exit::data, "E100", kMaxFile), path.string());
}

Tokenizer Tokenizer::from_json(std::string_view json, std::string_view where) {
  return Tokenizer(std::make_shared<Impl>(TokenizerFile::parse(json, where), where));
}

std::vector<Token> Tokenizer::encode(std::string_view text, bool parse_special) const {
  if (const std::size_t bad = unicode::first_invalid(text); bad != unicode::kValid) {
    throw base::UserError(
        base::Exit::data, "E102", "",
        fmt::format("byte {} of the text, {:#04x}", bad, static_cast<unsigned char>(text[bad])),
        "is not part of valid UTF-8; convert the text, or replace what is broken");
  }
  if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw base::UserError(base::Exit::data, "E102", "",
                          fmt::format("a text of {} bytes", text.size()),
                          "is longer than 4 GiB; cut it into documents");
  }
  std::vector<Token> out;
  out.reserve(text.size() / 3 + 8);
  if (!parse_special) {
    impl_->encode_text(text, out);
    return out;
  }
  // Cuts out the tokens of one set and hands the text between them to the next.
  const auto cut = [&out](const TextMatcher &set, std::string_view part, const auto &between) {
    std::size_t from = 0;
    TextMatcher::Match match;
    while (!set.empty() && set.find(part, from, match)) {
      if (match.begin > from) between(part.substr(from, match.begin - from));
      out.push_back(match.id);
      from = match.end;
    }
    if (from < part.size()) between(part.substr(from));
  };
  cut(impl_->raw, text, [&](std::string_view part) {
    cut(impl_->normalized, part, [&](std::string_view plain) { impl_->encode_text(plain, out); });
  });
  return out;
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool skip_special) const {
  std::string out;
  out.reserve(tokens.size() * 4);
  for (const Token id : tokens) {
    const std::string_view bytes = impl_->bytes_of(id);
    if (!skip_special || !impl_->special[static_cast<std::size_t>(id)]) out += bytes;
  }
  return out;
}

std::string Tokenizer::token_bytes(Token id) const { return std::string(impl_->bytes_of(id)); }

bool Tokenizer::is_special(Token id) const {
  return id >= 0 && id < size() && impl_->special[static_cast<std::size_t>(id)];
}

int Tokenizer::size() const { return static_cast<int>(impl_->begins.size() - 1); }

std::optional<Token> Tokenizer::id_of(std::string_view added_token) const {
  const auto found = impl_->added_ids.find(added_token);
  return found == impl_->added_ids.end() ? std::nullopt : std::optional(found->second);
}

namespace {

Token present(std::optional<Token> id, const std::string &where, const char *name) {
  if (id) return *id;
  throw base::UserError(
      base::Exit::data, "E105", where, fmt::format("no added token for the {} of a sentence", name),
      "known names are those of DeepSeek-V3, <|begin_of_text|> / <|end_of_text|>, <s> / </s>, "
      "<bos> / <eos> and <|endoftext|>");
}

} // namespace

Token Tokenizer::bos() const { return present(impl_->bos, impl_->where, "begin"); }
Token Tokenizer::eos() const { return present(impl_->eos, impl_->where, "end"); }
std::optional<Token> Tokenizer::fim_begin() const { return impl_->fim_begin; }
std::optional<Token> Tokenizer::fim_hole() const { return impl_->fim_hole; }
std::optional<Token> Tokenizer::fim_end() const { return impl_->fim_end; }

std::vector<Token> Tokenizer::split_newline(Token id) const {
  const auto found = impl_->newline_parts.find(id);
  return found == impl_->newline_parts.end() ? std::vector<Token>{} : found->second;
}

std::string Tokenizer::to_json() const { return impl_->file.to_json(); }
base::Hash128 Tokenizer::hash() const { return base::hash128(to_json()); }

} // namespace data

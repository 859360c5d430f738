// SPDX-License-Identifier: Apache-2.0
#include "data/packing.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace data {

PackingRules packing_rules(const Tokenizer &tokenizer, double fim_rate, const std::string &where) {
  PackingRules rules;
  rules.eos = tokenizer.eos();
  rules.fim_rate = fim_rate;
  if (fim_rate <= 0.0) return rules;
  const auto begin = tokenizer.fim_begin(), hole = tokenizer.fim_hole(), end = tokenizer.fim_end();
  if (!begin || !hole || !end)
    throw base::UserError(
        base::Exit::data, "E127", where,
        fmt::format("data.fim_rate = {}, but the tokenizer has no fill-in-the-middle tokens",
                    fim_rate),
        "Set data.fim_rate = 0, or use a tokenizer with fim_begin, fim_hole and fim_end among its "
        "added tokens.");
  rules.fim = {*begin, *hole, *end};
  for (Token id = 0; id < tokenizer.size(); ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    rules.begins_character.push_back(!bytes.empty() &&
                                     (static_cast<unsigned char>(bytes.front()) & 0xC0) != 0x80);
  }
  return rules;
}

std::int64_t stream_tokens(const DocumentSet &documents, const PackingRules &rules,
                           const Reading &reading) {
  std::int64_t sum = documents.tokens() + documents.documents();
  if (rules.fim_rate <= 0.0) return sum;
  for (std::int64_t d = 0; d < documents.documents(); ++d)
    if (fim_chosen(reading, d, documents.length(d), rules.fim_rate)) sum += kFimExtra;
  return sum;
}

PackedStream::PackedStream(const DocumentSet &documents, const PackingRules &rules)
    : documents_(documents), rules_(rules) {
  layout();
}

PackedStream::PackedStream(const DocumentSet &documents, const PackingRules &rules,
                           const Reading &reading)
    : documents_(documents), rules_(rules), reading_(reading) {
  order_.emplace(static_cast<std::uint64_t>(documents.documents()), reading.seed, reading.stream());
  layout();
}

std::int64_t PackedStream::document_at(std::int64_t place) const {
  return order_ ? static_cast<std::int64_t>((*order_)(static_cast<std::uint64_t>(place))) : place;
}

void PackedStream::layout() {
  const std::int64_t n = documents_.documents();
  starts_.reserve(static_cast<std::size_t>(n) + 1);
  starts_.push_back(0);
  for (std::int64_t place = 0; place < n; ++place) {
    const std::int64_t document = document_at(place), length = documents_.length(document);
    const bool fim = order_ && fim_chosen(reading_, document, length, rules_.fim_rate);
    starts_.push_back(starts_.back() + length + 1 + (fim ? kFimExtra : 0));
  }
}

void PackedStream::read(std::int64_t first, std::int64_t count, Token *out, std::int32_t base,
                        std::vector<std::int32_t> &document_starts) const {
  HADAL_CHECK(first >= 0 && count >= 0 && first + count <= tokens(), "tokens {} + {} of {}", first,
              count, tokens());
  const std::int64_t end = first + count;
  std::size_t place =
      static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) -
                               starts_.begin()) -
      1;
  for (std::int64_t at = first; at < end; ++place) {
    if (starts_[place] == at)
      document_starts.push_back(base + static_cast<std::int32_t>(at - first));
    const std::int64_t piece = std::min(end, starts_[place + 1]) - at;
    copy_document(document_at(static_cast<std::int64_t>(place)), at - starts_[place], piece,
                  out + (at - first));
    at += piece;
  }
}

// Tokens [first, first + count) of a document as it stands in the stream: with its eos, rewritten where it was chosen.
void PackedStream::copy_document(std::int64_t document, std::int64_t first, std::int64_t count,
                                 Token *out) const {
  const std::int64_t length = documents_.length(document);
  if (order_ && fim_chosen(reading_, document, length, rules_.fim_rate))
    return copy_fim(document, length, first, count, out);
  const std::int64_t text = std::min(count, length - std::min(first, length));
  documents_.copy(document, std::min(first, length), text, out);
  if (text < count) out[text] = rules_.eos;
}

void PackedStream::copy_fim(std::int64_t document, std::int64_t length, std::int64_t first,
                            std::int64_t count, Token *out) const {
  const FimCut cut = fim_cut(reading_, document, length, [&](std::int64_t i) {
    Token token = 0;
    documents_.copy(document, i, 1, &token);
    return rules_.begins_character[static_cast<std::size_t>(token)];
  });
  const std::int64_t end = first + count;
  std::int64_t at = 0; // place in the rewritten document
  const auto mark = [&](Token token) {
    if (at >= first && at < end) out[at - first] = token;
    ++at;
  };
  const auto text = [&](std::int64_t from, std::int64_t to) {
    const std::int64_t low = std::max(at, first), high = std::min(at + to - from, end);
    if (low < high) documents_.copy(document, from + low - at, high - low, out + (low - first));
    at += to - from;
  };
  mark(rules_.fim.begin);
  text(0, cut.first);
  mark(rules_.fim.hole);
  text(cut.second, length);
  mark(rules_.fim.end);
  text(cut.first, cut.second);
  mark(rules_.eos);
}

} // namespace data

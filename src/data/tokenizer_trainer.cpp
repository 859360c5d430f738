// SPDX-License-Identifier: Apache-2.0
// Training of byte pair merges: words (pieces of the split rules) with their counts; again and
// again the most frequent adjacent pair becomes a token. Counts of pairs are kept up to date from
// the places that a merge touches; the heap may hold counts that have fallen since, which are put
// right when they come to the top. The result does not depend on the order of the texts, only on
// the counts; equal counts go to the pair of lower ids.
#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

#include "base/error.hpp"
#include "data/byte_alphabet.hpp"
#include "data/tokenizer_impl.hpp"
#include "data/unicode.hpp"

namespace data {

namespace {

struct NamedToken {
  const char *content;
  bool special, normalized;
};

// Names, order and flags as DeepSeek-V3 publishes them; the first three have the ids 0, 1, 2, the
// others follow the words.
constexpr NamedToken kFirst[] = {{"<｜begin▁of▁sentence｜>", true, false},
                                 {"<｜end▁of▁sentence｜>", true, false},
                                 {"<｜▁pad▁｜>", true, false}};
constexpr NamedToken kLast[] = {{"<｜fim▁hole｜>", false, true},
                                {"<｜fim▁begin｜>", false, true},
                                {"<｜fim▁end｜>", false, true},
                                {"<｜User｜>", false, true},
                                {"<｜Assistant｜>", false, true},
                                {"<|EOT|>", true, true},
                                {"<｜tool▁calls▁begin｜>", false, true},
                                {"<｜tool▁calls▁end｜>", false, true},
                                {"<｜tool▁call▁begin｜>", false, true},
                                {"<｜tool▁call▁end｜>", false, true},
                                {"<｜tool▁outputs▁begin｜>", false, true},
                                {"<｜tool▁outputs▁end｜>", false, true},
                                {"<｜tool▁output▁begin｜>", false, true},
                                {"<｜tool▁output▁end｜>", false, true},
                                {"<｜tool▁sep｜>", false, true}};
constexpr std::size_t kFixed = std::size(kFirst) + 256 + std::size(kLast);

[[noreturn]] void refuse(const std::string &read, const std::string &advice) {
  throw base::UserError(base::Exit::data, "E103", "training a tokenizer", read, advice);
}

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>{}(text);
  }
};
using WordCounts = std::unordered_map<std::string, std::int64_t, TextHash, std::equal_to<>>;

using PairKey = std::uint64_t; // left id in the upper half: compares as (left, right)
PairKey key_of(Token left, Token right) {
  return static_cast<PairKey>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

struct Word {
  std::vector<Token> symbols;
  std::int64_t count;
};

struct PairInfo {
  std::int64_t count = 0;
  std::vector<std::uint32_t> words; // in which it stands or once stood
};

struct Candidate {
  std::int64_t count;
  PairKey pair;
  bool operator<(const Candidate &other) const { // the heap's top is the greatest
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

class Merger {
public:
  Merger(const WordCounts &counts, const std::array<Token, 256> &byte_ids) {
    std::vector<std::pair<std::string_view, std::int64_t>> sorted(counts.begin(), counts.end());
    std::ranges::sort(sorted);
    for (const auto &[text, count] : sorted) {
      Word word{{}, count};
      for (const char c : text) word.symbols.push_back(byte_ids[static_cast<unsigned char>(c)]);
      const auto index = static_cast<std::uint32_t>(words_.size());
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        change(key_of(word.symbols[i], word.symbols[i + 1]), count, index);
      }
      words_.push_back(std::move(word));
    }
    for (const auto &[pair, info] : pairs_) heap_.push({info.count, pair});
  }

  // The most frequent pair, or nothing when none occurs at least `least` times.
  std::optional<Candidate> best(std::int64_t least) {
    while (!heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      const std::int64_t now = pairs_[top.pair].count;
      if (top.count > now && now > 0) heap_.push({now, top.pair});
      if (top.count != now) continue; // it fell, or another entry has what it rose to
      if (now < least) return std::nullopt;
      return top;
    }
    return std::nullopt;
  }

  void drop(PairKey pair) { pairs_.erase(pair); } // a pair that is never to be merged

  void merge(PairKey pair, Token merged) {
    const auto left = static_cast<Token>(pair >> 32), right = static_cast<Token>(pair & 0xFFFFFFFF);
    const std::vector<std::uint32_t> places = std::move(pairs_[pair].words);
    risen_.clear();
    for (const std::uint32_t index : places) merge_in_word(index, left, right, merged);
    pairs_.erase(pair);
    std::ranges::sort(risen_);
    const auto repeated = std::ranges::unique(risen_);
    risen_.erase(repeated.begin(), repeated.end());
    for (const PairKey key : risen_) {
      if (const auto found = pairs_.find(key); found != pairs_.end())
        heap_.push({found->second.count, key});
    }
  }

private:
  void change(PairKey pair, std::int64_t by, std::uint32_t word) {
    PairInfo &info = pairs_[pair];
    info.count += by;
    if (by > 0 && (info.words.empty() || info.words.back() != word)) info.words.push_back(word);
  }

  void raise(PairKey pair, std::int64_t by, std::uint32_t word) {
    change(pair, by, word);
    if (risen_.empty() || risen_.back() != pair) risen_.push_back(pair);
  }

  void merge_in_word(std::uint32_t index, Token left, Token right, Token merged) {
    Word &word = words_[index];
    std::vector<Token> &s = word.symbols;
    std::size_t out = 0; // s[0, out) is rewritten, s[i, end) still to be read
    for (std::size_t i = 0; i < s.size();) {
      if (s[i] != left || i + 1 == s.size() || s[i + 1] != right) {
        s[out++] = s[i++];
        continue;
      }
      if (out > 0) {
        change(key_of(s[out - 1], left), -word.count, index);
        raise(key_of(s[out - 1], merged), word.count, index);
      }
      if (i + 2 < s.size()) {
        change(key_of(right, s[i + 2]), -word.count, index);
        raise(key_of(merged, s[i + 2]), word.count, index);
      }
      s[out++] = merged;
      i += 2;
    }
    s.resize(out);
  }

  std::vector<Word> words_;
  std::unordered_map<PairKey, PairInfo> pairs_;
  std::priority_queue<Candidate> heap_;
  std::vector<PairKey> risen_; // pairs whose count rose in this merge
};

} // namespace

struct TokenizerTrainer::Impl {
  TokenizerTraining options;
  Splitter splitter{{deepseek_rules().begin(), deepseek_rules().end()}};
  WordCounts words;
  std::vector<std::uint32_t> ends;
};

TokenizerTrainer::TokenizerTrainer(TokenizerTraining options) : impl_(std::make_unique<Impl>()) {
  const auto least = static_cast<std::int64_t>(kFixed + options.extra_added_tokens.size());
  if (options.vocabulary < least || options.vocabulary > (1 << 24)) {
    refuse(fmt::format("a vocabulary of {}", options.vocabulary),
           fmt::format("must be {} (bytes and added tokens alone) to {}", least, 1 << 24));
  }
  if (options.min_count < 1)
    refuse(fmt::format("a least count of {}", options.min_count), "must be 1 or more");
  std::unordered_set<std::string_view> known;
  for (const NamedToken &token : kFirst) known.insert(token.content);
  for (const NamedToken &token : kLast) known.insert(token.content);
  for (const std::string &text : options.extra_added_tokens) {
    const bool fits = text.size() > 1 && unicode::first_invalid(text) == unicode::kValid &&
                      known.insert(text).second;
    if (!fits) {
      refuse("the added token " + shown(text),
             "must be valid UTF-8, of two bytes or more, and not named twice");
    }
  }
  impl_->options = std::move(options);
}

TokenizerTrainer::~TokenizerTrainer() = default;

void TokenizerTrainer::add(std::string_view document) {
  if (const std::size_t bad = unicode::first_invalid(document); bad != unicode::kValid) {
    throw base::UserError(
        base::Exit::data, "E102", "training a tokenizer", fmt::format("byte {} of a document", bad),
        "is not part of valid UTF-8; convert the text, or replace what is broken");
  }
  constexpr std::size_t kMost = std::size_t{1} << 31;
  if (document.size() > kMost) refuse("a document of more than 2 GiB", "cut it into shorter ones");
  impl_->ends.clear();
  impl_->splitter.split(document, impl_->ends);
  std::size_t begin = 0;
  for (const std::uint32_t end : impl_->ends) {
    const std::string_view piece = document.substr(begin, end - begin);
    begin = end;
    if (const auto found = impl_->words.find(piece); found != impl_->words.end()) {
      ++found->second;
    } else {
      impl_->words.emplace(piece, 1);
    }
  }
}

Tokenizer TokenizerTrainer::finish() {
  const TokenizerTraining &options = impl_->options;
  TokenizerFile file = deepseek_form();
  const auto add_token = [&file](std::string content, std::size_t id, bool special,
                                 bool normalized) {
    file.added.push_back({std::move(content), static_cast<Token>(id), special, normalized});
  };
  for (const NamedToken &token : kFirst) {
    add_token(token.content, file.vocabulary.size(), token.special, token.normalized);
    file.vocabulary.emplace_back(token.content);
  }
  std::array<Token, 256> byte_ids{};
  for (const unsigned char byte : byte_alphabet::by_code_point()) {
    byte_ids[byte] = static_cast<Token>(file.vocabulary.size());
    file.vocabulary.push_back(byte_alphabet::text_of(byte));
  }
  std::unordered_map<std::string, Token> known;
  for (std::size_t id = 0; id < file.vocabulary.size(); ++id)
    known.emplace(file.vocabulary[id], static_cast<Token>(id));
  std::unordered_set<std::string> taken(options.extra_added_tokens.begin(),
                                        options.extra_added_tokens.end());
  for (const NamedToken &token : kLast) taken.insert(token.content);

  Merger merger(impl_->words, byte_ids);
  const std::size_t base = static_cast<std::size_t>(options.vocabulary) - std::size(kLast) -
                           options.extra_added_tokens.size();
  while (file.vocabulary.size() < base) {
    const auto best = merger.best(options.min_count);
    if (!best) {
      const std::size_t reached =
          file.vocabulary.size() + static_cast<std::size_t>(options.vocabulary) - base;
      refuse(fmt::format("text of {} different words", impl_->words.size()),
             fmt::format("gives {} tokens from pairs that occur {} times or more, fewer than the "
                         "vocabulary of {}; give more "
                         "text, or lower the vocabulary or the least count",
                         reached, options.min_count, options.vocabulary));
    }
    const auto left = static_cast<Token>(best->pair >> 32),
               right = static_cast<Token>(best->pair & 0xFFFFFFFF);
    const std::string whole = file.vocabulary[static_cast<std::size_t>(left)] +
                              file.vocabulary[static_cast<std::size_t>(right)];
    if (taken.contains(whole)) { // an added token has this text: it keeps it to itself
      merger.drop(best->pair);
      continue;
    }
    const auto [found, is_new] = known.emplace(whole, static_cast<Token>(file.vocabulary.size()));
    if (is_new) file.vocabulary.push_back(whole); // else two ways lead to one token
    file.merges.push_back({left, right, found->second});
    merger.merge(best->pair, found->second);
  }
  std::size_t id = file.vocabulary.size();
  for (const NamedToken &token : kLast)
    add_token(token.content, id++, token.special, token.normalized);
  for (const std::string &text : options.extra_added_tokens) add_token(text, id++, true, false);
  return Tokenizer(std::make_shared<Tokenizer::Impl>(std::move(file), "the trained tokenizer"));
}

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer_bench.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/random.hpp"
#include "base/text.hpp"
#include "data/splitter.hpp"
#include "data/tokenizer.hpp"

namespace data {
namespace {

using base::random::Purpose;

// Words of which the n-th has a share of about 1/n, with digits, punctuation and lines now and then.
std::string made_up_text(std::size_t size) {
  const auto draw = [](std::uint64_t step, std::uint64_t index) {
    return base::random::bits(1, Purpose::test, step, index);
  };
  std::string out;
  for (std::uint64_t i = 0; out.size() < size; ++i) {
    const double share = base::random::uniform(1, Purpose::test, 1, i);
    const auto word = static_cast<std::uint64_t>(std::pow(30000.0, share));
    const std::uint64_t length = 2 + draw(2, word) % 9;
    for (std::uint64_t k = 0; k < length; ++k) {
      out += "eetaoinshrdlucmf"[draw(3, word * 16 + k) % 16];
    }
    const std::uint64_t end = draw(4, i) % 64;
    if (end < 4) out += ",.;:"[end];
    if (end == 4) out += std::to_string(draw(5, i) % 10000);
    out += end == 5 ? '\n' : ' ';
  }
  return out;
}

template <class Action> double best_seconds(int rounds, const Action &action) {
  double best = 1e30;
  for (int i = 0; i < rounds; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
    best = std::min(best, taken.count());
  }
  return best;
}

Tokenizer tokenizer_for(const std::string &path, std::string_view text) {
  if (!path.empty()) return Tokenizer::load(path);
  TokenizerTrainer trainer({});
  trainer.add(text);
  return trainer.finish();
}

} // namespace

std::string tokenizer_bench(const TokenizerBench &options) {
  const std::string text = options.text.empty()
                               ? made_up_text(std::size_t{4} << 20)
                               : base::read_file(options.text, base::Exit::data, "E112");
  const auto begin = std::chrono::steady_clock::now();
  const Tokenizer tokenizer = tokenizer_for(options.tokenizer, text);
  const std::chrono::duration<double> ready = std::chrono::steady_clock::now() - begin;

  const std::vector<SplitRule> rules{deepseek_rules().begin(), deepseek_rules().end()};
  const Splitter by_hand(rules), by_pcre2(rules, false);
  std::vector<std::uint32_t> ends;
  std::vector<Token> ids;
  std::string copy, back;
  std::string out = fmt::format(
      "{} ({} ids) {} in {:.2f} s\n",
      options.tokenizer.empty() ? "a tokenizer of this text" : options.tokenizer, tokenizer.size(),
      options.tokenizer.empty() ? "trained" : "loaded", ready.count());
  const auto row = [&](const char *name, const auto &action) {
    const double seconds = best_seconds(options.rounds, action);
    out += fmt::format("  {:<28} {:>9.1f} MB/s\n", name,
                       static_cast<double>(text.size()) / seconds / 1e6);
  };
  row("copy of the bytes", [&] { copy.assign(text); });
  row("split, by hand", [&] { ends.clear(), by_hand.split(text, ends); });
  row("split, PCRE2", [&] { ends.clear(), by_pcre2.split(text, ends); });
  row("encode", [&] { ids = tokenizer.encode(text); });
  row("decode", [&] { back = tokenizer.decode(ids); });
  HADAL_CHECK(back == text, "{} bytes came back from {}", back.size(), text.size());
  out += fmt::format("  {} bytes, {} pieces, {} tokens: {:.2f} bytes a token\n",
                     base::text::with_commas(static_cast<std::int64_t>(text.size())),
                     base::text::with_commas(static_cast<std::int64_t>(ends.size())),
                     base::text::with_commas(static_cast<std::int64_t>(ids.size())),
                     static_cast<double>(text.size()) / static_cast<double>(ids.size()));
  return out;
}

} // namespace data

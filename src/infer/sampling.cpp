// SPDX-License-Identifier: Apache-2.0
// From logits to a token; from tokens' bytes to characters.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/random.hpp"
#include "infer/generator.hpp"

namespace infer {

namespace {

struct Candidate {
  double weight; // exp((l - max) / temperature)
  data::Token token;
};

data::Token most_probable(std::span<const float> logits, int vocabulary) {
  return static_cast<data::Token>(std::max_element(logits.begin(), logits.begin() + vocabulary) -
                                  logits.begin());
}

void check(std::span<const float> logits, const SamplingOptions &options, int vocabulary) {
  HADAL_CHECK(vocabulary > 0 && static_cast<std::size_t>(vocabulary) <= logits.size(),
              "{} tokens of {} logits", vocabulary, logits.size());
  HADAL_CHECK(options.temperature >= 0 && options.top_p > 0 && options.top_p <= 1,
              "temperature {}, top_p {}", options.temperature, options.top_p);
  for (int i = 0; i < vocabulary; ++i)
    if (!std::isfinite(logits[static_cast<std::size_t>(i)]))
      throw base::UserError(
          base::Exit::numbers, "E262", "generation",
          fmt::format("the logit of token {} is {}", i, logits[static_cast<std::size_t>(i)]),
          "The weights hold numbers that are not finite, or overflow in this precision. Take an "
          "earlier checkpoint, or --precision f32.");
}

} // namespace

data::Token sample(std::span<const float> logits, const SamplingOptions &options,
                   std::int64_t position, int vocabulary, std::uint64_t stream) {
  check(logits, options, vocabulary);
  const data::Token best = most_probable(logits, vocabulary);
  if (options.temperature == 0) return best;
  const double highest = logits[static_cast<std::size_t>(best)];
  const auto weight = [&](int i) {
    return std::exp((logits[static_cast<std::size_t>(i)] - highest) / options.temperature);
  };
  double total = 0;
  for (int i = 0; i < vocabulary; ++i) total += weight(i);
  // Tokens below this probability are less than 1 - top_p together: they are never among the chosen, and need no sorting.
  const double least = (1.0 - options.top_p) / vocabulary * total;
  std::vector<Candidate> candidates;
  for (int i = 0; i < vocabulary; ++i)
    if (const double w = weight(i); w >= least) candidates.push_back({w, i});
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate &a, const Candidate &b) { return a.weight > b.weight; });
  double kept = 0;
  std::size_t count = 0;
  while (count < candidates.size() && (count == 0 || kept < options.top_p * total))
    kept += candidates[count++].weight;
  const double draw = base::random::uniform(options.seed, base::random::Purpose::generate, stream,
                                            static_cast<std::uint64_t>(position)) *
                      kept;
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i)
    if ((sum += candidates[i].weight) > draw) return candidates[i].token;
  return candidates[count - 1].token;
}

namespace {

enum class Utf8 { whole, open, broken };
struct Step {
  Utf8 kind;
  std::size_t bytes; // of the character, or of what is replaced
};

// Bytes that may follow the first: Unicode 15, table 3-7 (no surrogates, nothing overlong, nothing above U+10FFFF).
Step next_character(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {Utf8::whole, 1};
  const std::size_t length = first < 0xC2   ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length == 0) return {Utf8::broken, 1};
  for (std::size_t i = 1; i < length; ++i) {
    if (i == s.size()) return {Utf8::open, i};
    const unsigned low = i > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = i > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (byte(i) < low || byte(i) > high) return {Utf8::broken, i};
  }
  return {Utf8::whole, length};
}

constexpr const char *kReplacement = "\xEF\xBF\xBD"; // U+FFFD

} // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  std::string_view left = held_;
  while (!left.empty()) {
    const Step step = next_character(left);
    if (step.kind == Utf8::open) break;
    if (step.kind == Utf8::whole)
      out += left.substr(0, step.bytes);
    else
      out += kReplacement;
    left.remove_prefix(step.bytes);
  }
  held_ = std::string(left);
  return out;
}

std::string Utf8Stream::rest() {
  const bool open = !held_.empty();
  held_.clear();
  return open ? kReplacement : "";
}

} // namespace infer

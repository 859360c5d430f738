// SPDX-License-Identifier: Apache-2.0
#pragma once
// Fill-in-the-middle, in the form prefix, suffix, middle (PSM) of the DeepSeek-V3 report:
//   fim_begin  prefix  fim_hole  suffix  fim_end  middle  eos
// A document is rewritten before it is packed. The two cuts are uniform over its tokens, moved on to the next token that
// begins a character, so that each of the three parts is text.
#include <cstdint>
#include <functional>

#include "data/tokenizer.hpp"

namespace data {

struct FimMarks {
  Token begin = 0, hole = 0, end = 0;
};

// Which document in which reading: what the decisions depend on, beside the seed.
struct Reading {
  std::uint64_t seed = 0;
  std::int64_t source = 0, epoch = 0;
  std::uint64_t stream() const {
    return static_cast<std::uint64_t>(source) << 40 | static_cast<std::uint64_t>(epoch);
  }
};

// Prefix [0, first), middle [first, second), suffix [second, length).
struct FimCut {
  std::int64_t first = 0, second = 0;
};

constexpr std::int64_t kFimMinimum = 3; // tokens; shorter documents are left as they are
constexpr std::int64_t kFimExtra = 3;   // tokens that the marks add

bool fim_chosen(const Reading &reading, std::int64_t document, std::int64_t length, double rate);
// begins_character(i): does token i of the document begin with the first byte of a character?
FimCut fim_cut(const Reading &reading, std::int64_t document, std::int64_t length,
               const std::function<bool(std::int64_t)> &begins_character);

} // namespace data

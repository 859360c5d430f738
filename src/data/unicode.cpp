// SPDX-License-Identifier: Apache-2.0
#include "data/unicode.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.hpp"
#include "data/regex.hpp"

namespace data::unicode {

namespace {

constexpr char32_t kCodePoints = 0x110000;

bool continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the valid sequence at p with `left` bytes to go, or 0. Table 3-7 of the Unicode
// standard.
int sequence_length(const unsigned char *p, std::size_t left) {
  const unsigned char lead = p[0];
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  if (lead < 0xE0) return left >= 2 && continuation(p[1]) ? 2 : 0;
  if (lead < 0xF0) {
    if (left < 3 || !continuation(p[1]) || !continuation(p[2])) return 0;
    if (lead == 0xE0 && p[1] < 0xA0) return 0; // overlong
    if (lead == 0xED && p[1] > 0x9F) return 0; // surrogates
    return 3;
  }
  if (left < 4 || !continuation(p[1]) || !continuation(p[2]) || !continuation(p[3])) return 0;
  if (lead == 0xF0 && p[1] < 0x90) return 0; // overlong
  if (lead == 0xF4 && p[1] > 0x8F) return 0; // above U+10FFFF
  return 4;
}

// Marks in `classes` the code points of `text` that `pattern` matches.
void mark_class(const std::string &text, const char *pattern, Class value,
                std::vector<Class> &classes) {
  const Regex regex = Regex::compile(pattern);
  std::size_t from = 0;
  Regex::Match match;
  while (regex.find(text, from, match)) {
    for (std::size_t p = match.begin; p < match.end;) {
      const Decoded d = decode(text.data() + p);
      classes[d.code_point] = value;
      p += static_cast<std::size_t>(d.length);
    }
    from = match.end;
  }
}

} // namespace

std::size_t first_invalid(std::string_view bytes) {
  const auto *p = reinterpret_cast<const unsigned char *>(bytes.data());
  const std::size_t size = bytes.size();
  std::size_t i = 0;
  while (i < size) {
    while (i + 8 <= size) { // eight ASCII characters at once
      std::uint64_t word;
      std::memcpy(&word, p + i, sizeof word);
      if (word & 0x8080808080808080ULL) break;
      i += 8;
    }
    if (i == size) break;
    const int length = sequence_length(p + i, size - i);
    if (length == 0) return i;
    i += static_cast<std::size_t>(length);
  }
  return kValid;
}

void append_utf8(std::string &out, char32_t c) {
  const auto byte = [&out](char32_t value) {
    out.push_back(static_cast<char>(static_cast<unsigned char>(value)));
  };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F));
  } else {
    byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)),
        byte(0x80 | (c & 0x3F));
  }
}

const ClassTable &ClassTable::get() {
  static const ClassTable table;
  return table;
}

ClassTable::ClassTable() {
  // Planes 4 to 13 hold nothing, 15 and 16 private use: class other (a test looks at every code
  // point).
  std::string text;
  for (char32_t c = 0; c < 0x40000; ++c) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(text, c);
  }
  for (char32_t c = 0xE0000; c < 0xE1000; ++c) append_utf8(text, c);

  std::vector<Class> classes(kCodePoints, Class::other);
  mark_class(text, "\\p{L}+", Class::letter, classes);
  mark_class(text, "\\p{M}+", Class::mark, classes);
  mark_class(text, "\\p{N}+", Class::number, classes);
  mark_class(text, "[\\p{P}\\p{S}]+", Class::punct, classes);
  mark_class(text, kWhiteSpacePattern, Class::space, classes);
  classes['\r'] = classes['\n'] = Class::newline;

  std::map<std::vector<Class>, std::uint16_t> known;
  for (char32_t begin = 0; begin < kCodePoints; begin += 256) {
    std::vector<Class> block(classes.begin() + begin, classes.begin() + begin + 256);
    const auto [found, is_new] = known.try_emplace(block, static_cast<std::uint16_t>(known.size()));
    if (is_new) blocks_.insert(blocks_.end(), block.begin(), block.end());
    block_of_.push_back(found->second);
  }
  std::copy_n(classes.begin(), 128, ascii_);
}

} // namespace data::unicode

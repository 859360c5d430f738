// SPDX-License-Identifier: Apache-2.0
#include "data/byte_alphabet.hpp"

#include <algorithm>

#include "data/unicode.hpp"

namespace data::byte_alphabet {

namespace {

struct Tables {
  std::array<char32_t, 256> code_point{};
  std::array<std::string, 256> text;
  std::array<int, 324> byte{}; // by code point; -1: not of the alphabet
  std::array<unsigned char, 256> by_code_point{};
  Tables() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      const char32_t c = printable ? static_cast<char32_t>(b) : next++;
      const auto i = static_cast<std::size_t>(b);
      code_point[i] = c;
      byte[c] = b;
      by_code_point[i] = static_cast<unsigned char>(b);
      unicode::append_utf8(text[i], c);
    }
    std::ranges::sort(by_code_point, {}, [this](unsigned char b) { return code_point[b]; });
  }
};

const Tables &tables() {
  static const Tables value;
  return value;
}

} // namespace

char32_t code_point_of(unsigned char byte) { return tables().code_point[byte]; }
const std::string &text_of(unsigned char byte) { return tables().text[byte]; }
const std::array<unsigned char, 256> &by_code_point() { return tables().by_code_point; }

std::string to_text(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += text_of(static_cast<unsigned char>(c));
  return out;
}

std::optional<std::string> to_bytes(std::string_view text) {
  const Tables &t = tables();
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const unicode::Decoded d = unicode::decode(text.data() + i);
    if (d.code_point >= t.byte.size() || t.byte[d.code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(static_cast<unsigned char>(t.byte[d.code_point])));
    i += static_cast<std::size_t>(d.length);
  }
  return out;
}

} // namespace data::byte_alphabet

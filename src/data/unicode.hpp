// SPDX-License-Identifier: Apache-2.0
#pragma once
// UTF-8 and the character classes of the split patterns. The classes come from PCRE2 at first use,
// so that the hand-written scanner and the regular expressions can never disagree about a letter
// (PCRE2 10.42 has the tables of Unicode 14).
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace data::unicode {

inline constexpr std::size_t kValid = static_cast<std::size_t>(-1);

// Position of the first byte that is not part of valid UTF-8 (no surrogates, nothing overlong), or
// kValid.
std::size_t first_invalid(std::string_view bytes);

void append_utf8(std::string &out, char32_t code_point);

struct Decoded {
  char32_t code_point;
  int length; // bytes
};

// The code point at p; the text must be valid UTF-8.
inline Decoded decode(const char *p) {
  const auto *u = reinterpret_cast<const unsigned char *>(p);
  if (u[0] < 0x80) return {u[0], 1};
  if (u[0] < 0xE0) return {static_cast<char32_t>((u[0] & 0x1F) << 6 | (u[1] & 0x3F)), 2};
  if (u[0] < 0xF0) {
    return {static_cast<char32_t>((u[0] & 0x0F) << 12 | (u[1] & 0x3F) << 6 | (u[2] & 0x3F)), 3};
  }
  return {static_cast<char32_t>((u[0] & 0x07) << 18 | (u[1] & 0x3F) << 12 | (u[2] & 0x3F) << 6 |
                                (u[3] & 0x3F)),
          4};
}

// Classes that exclude one another. Unicode general categories, white space by the property
// White_Space.
enum class Class : std::uint8_t {
  other,   // controls, unassigned, private use
  letter,  // L
  mark,    // M
  number,  // N
  punct,   // P or S
  space,   // White_Space without CR and LF
  newline, // CR, LF
};

// Two-stage table: 256 code points a block, equal blocks shared.
class ClassTable {
public:
  static const ClassTable &get(); // built once, about 10 ms
  Class of(char32_t code_point) const {
    return blocks_[static_cast<std::size_t>(block_of_[code_point >> 8]) << 8 | (code_point & 0xFF)];
  }
  const Class *ascii() const { return ascii_; } // 128 entries

private:
  ClassTable();
  std::vector<std::uint16_t> block_of_;
  std::vector<Class> blocks_;
  Class ascii_[128];
};

} // namespace data::unicode

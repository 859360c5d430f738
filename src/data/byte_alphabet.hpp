// SPDX-License-Identifier: Apache-2.0
#pragma once
// The alphabet of byte-level BPE: every byte has a printable character. Bytes 33-126, 161-172,
// 174-255 are the code points of their own number; the other 68 follow in order from U+0100 (so
// space is U+0120, LF is U+010A).
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace data::byte_alphabet {

char32_t code_point_of(unsigned char byte);
const std::string &text_of(unsigned char byte); // its UTF-8
std::string to_text(std::string_view bytes);
std::optional<std::string>
to_bytes(std::string_view text); // empty when a character is not of the alphabet
// The bytes in the order of their characters: the order of their ids in a trained vocabulary.
const std::array<unsigned char, 256> &by_code_point();

} // namespace data::byte_alphabet

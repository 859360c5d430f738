// SPDX-License-Identifier: Apache-2.0
#include "deck/letters.hpp"

namespace deck {

std::optional<std::string> Letters::hide(std::string_view text) {
  if (text.find("\\U0010") != std::string_view::npos) return std::nullopt;
  std::string hidden;
  for (std::size_t i = 0; i < text.size();) {
    const auto first = static_cast<unsigned char>(text[i]);
    const std::size_t length = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    const std::string letter(text.substr(i, length));
    hidden += length == 1 ? letter : stand_in(letter);
    if (letters_.size() > kPlaces) return std::nullopt;
    i += length;
  }
  return hidden;
}

std::string Letters::show(std::string_view hidden) const {
  std::string text;
  const auto bits = [&](std::size_t i, unsigned mask) {
    return static_cast<unsigned char>(hidden[i]) & mask;
  };
  for (std::size_t i = 0; i < hidden.size(); ++i) {
    std::size_t place = kPlaces;
    if (bits(i, 0xFF) == 0xF4 && i + 3 < hidden.size())
      place = (bits(i + 1, 0x0F) << 12 | bits(i + 2, 0x3F) << 6 | bits(i + 3, 0x3F));
    if (place < letters_.size()) {
      text += letters_[place];
      i += 3;
    } else {
      text += hidden[i];
    }
  }
  return text;
}

std::string Letters::stand_in(const std::string &letter) {
  const auto [known, added] = places_.emplace(letter, letters_.size());
  if (added) letters_.push_back(letter);
  const std::size_t place = known->second % kPlaces;
  return {static_cast<char>(0xF4), static_cast<char>(0x80 | place >> 12),
          static_cast<char>(0x80 | (place >> 6 & 0x3F)), static_cast<char>(0x80 | (place & 0x3F))};
}

} // namespace deck

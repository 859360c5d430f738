// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deck {

// toml++ 3.3 runs into undefined behaviour on some letters beyond ASCII, U+00E9 for one, where it
// asks whether they are white space. It gets letters of plane 16 (private use) instead, which it
// treats well, one for each letter of the text; they are changed back in all that comes out of it.
class Letters {
public:
  // Of valid UTF-8. Empty when the text has more different letters than there are places, or writes
  // letters of plane 16 as escapes, which would be taken for ours.
  std::optional<std::string> hide(std::string_view text);
  std::string show(std::string_view hidden) const;

private:
  static constexpr std::size_t kPlaces = 65'000;
  std::string stand_in(const std::string &letter);

  std::map<std::string, std::size_t> places_;
  std::vector<std::string> letters_;
};

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every target does: the input as text, and only the user's errors may leave a reader. Whatever else is thrown ends the
// process, which libFuzzer counts as a crash, and so does a message that a
// terminal cannot bear (no UTF-8, control characters).
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "base/error.hpp"
#include "base/text.hpp"

namespace fuzz {

template <class Body> int only_user_errors(const Body &body) {
  try {
    body();
  } catch (const base::UserError &error) {
    const std::string_view said = error.what();
    if (base::text::readable(said) != said || error.number().size() != 4) {
      std::fprintf(stderr, "a message that nobody can read\n");
      std::abort();
    }
  }
  return 0;
}

// A property that must hold.
inline void require(bool holds, const char *what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t *data, std::size_t size) {
  return {reinterpret_cast<const char *>(data), size};
}

} // namespace fuzz

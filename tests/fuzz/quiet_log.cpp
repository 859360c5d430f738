// SPDX-License-Identifier: Apache-2.0
// In place of the log: warnings are not wanted here, but they must be readable.
#include "base/log.hpp"

#include "tests/fuzz/target.hpp"

namespace base::log {

void write(Level, std::string_view text) {
  fuzz::require(base::text::valid_utf8(text), "a line of the log is UTF-8");
}

} // namespace base::log

// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include "base/text.hpp"

namespace base {
namespace {

// The two-part text of a user's error; every line of the advice is indented.
std::string compose(std::string_view number, std::string_view where, std::string_view read,
                    std::string_view advice) {
  std::string all(where);
  if (!where.empty() && !read.empty()) all += ": ";
  all += read;
  if (!all.empty()) all += "\n  ";
  for (const char c : advice) {
    all += c;
    if (c == '\n') all += "  ";
  }
  // Places and values may come from hostile files: a terminal must bear them.
  return text::readable(all) + fmt::format("     [{}]", number);
}

} // namespace

UserError::UserError(Exit code, std::string_view number, std::string_view where,
                     std::string_view read, std::string_view advice)
    : std::runtime_error(compose(number, where, read, advice)), code_(code), number_(number) {}

void check_failed(const char *file, int line, const char *condition, const std::string &values) {
  throw Fault(fmt::format("{}:{}: check failed: {}: {}", file, line, condition, values));
}

} // namespace base

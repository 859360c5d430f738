// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two kinds of error. The user's (deck, file, machine, data): UserError, with a number found in
// docs/errors.md. Ours: HADAL_CHECK, which prints values and aborts the run with exit code 1.
//
// Number ranges: E001-E039 deck, E040-E069 arch and model, E070-E099 machine, E100-E139 data and
// tokenizer, E140-E159 converters, E200-E239 checkpoint, E240-E259 numbers (non-finite, spikes),
// E260-E299 infer and serve.
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace base {

// Exit codes that scripts rely on (docs/errors.md).
enum class Exit : int {
  ok = 0,
  fault = 1, // ours
  deck = 2,
  machine = 3,
  numbers = 4,
  checkpoint = 5,
  data = 6,
  run_me_again = 75 // stopped in good order
};

// A fault that the user can mend. what() is the whole text:
//   <where>: <what was read>
//     <what is wrong, what is allowed, what to try>      [E014]
class UserError : public std::runtime_error {
public:
  // where: "file:line", a path, or "" when there is none; read: what was found there; advice: what
  // is allowed and what to try.
  UserError(Exit code, std::string_view number, std::string_view where, std::string_view read,
            std::string_view advice);
  Exit code() const { return code_; }
  const std::string &number() const { return number_; }
  // The same fault with another exit code: a config.json is a deck to one command, a foreign file to another.
  UserError with(Exit code) const {
    UserError other = *this;
    other.code_ = code;
    return other;
  }

private:
  Exit code_;
  std::string number_;
};

// Thrown by HADAL_CHECK: a fault of the program itself.
class Fault : public std::logic_error {
public:
  using std::logic_error::logic_error;
};

[[noreturn]] void check_failed(const char *file, int line, const char *condition,
                               const std::string &values);

} // namespace base

// HADAL_CHECK(condition, "format {}", values...): one of the program's three macros.
#define HADAL_CHECK(condition, ...)                                                                \
  do {                                                                                             \
    if (!(condition))                                                                              \
      ::base::check_failed(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__));            \
  } while (false)

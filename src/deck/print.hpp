// SPDX-License-Identifier: Apache-2.0
#pragma once
// The other way round: an options struct becomes deck text, by the same declarations that read it. Keys that stand at their default
// are written too, so that the text says everything.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace deck {

class Printer {
public:
  void key(std::int64_t &value, const char *name, std::int64_t, std::int64_t, std::int64_t,
           const char *, const char *) {
    line(name, fmt::format("{}", value));
  }
  void key(double &value, const char *name, double, double, double, const char *, const char *) {
    line(name, number(value));
  }
  void key(bool &value, const char *name, bool, const char *) {
    line(name, value ? "true" : "false");
  }
  template <class Enum>
  void choice(Enum &value, const char *name, Enum,
              const std::vector<std::pair<std::string, Enum>> &choices, const char *) {
    for (const auto &[word, choice] : choices)
      if (choice == value) line(name, '"' + word + '"');
  }
  const std::string &text() const { return text_; }

private:
  // TOML tells whole numbers from others by the point.
  static std::string number(double value) {
    const std::string digits = fmt::format("{}", value);
    return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
  }
  void line(const char *name, const std::string &value) {
    text_ += fmt::format("{} = {}\n", name, value);
  }
  std::string text_;
};

// "[table]" and its keys. Options may hold numbers, booleans and choices.
template <class Options> std::string print_table(const std::string &table, Options options) {
  Printer printer;
  options.keys(printer);
  return "[" + table + "]\n" + printer.text();
}

} // namespace deck

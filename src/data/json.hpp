// SPDX-License-Identifier: Apache-2.0
#pragma once
// A JSON document as a tree that keeps the order of members, refuses what other readers pass over
// (repeated keys, numbers beyond 64 bits where a whole number is asked for, deep nesting), and is
// written as Python's json.dump(indent=4) writes it. Parsing is nlohmann's.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace data {

// what() is a phrase for the user, with line and column.
class JsonError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;
  std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, Array, Object> value =
      nullptr;

  static Json parse(std::string_view text); // throws JsonError

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value); }
  template <class T> const T *as() const { return std::get_if<T>(&value); }
  const Json *find(std::string_view key) const; // member of an object, or null; linear
  const char *kind() const;                     // "an object", "a string", ...
  void write(std::string &out, int indent = 0) const;
};

// For messages: between quotes, controls and whatever is not valid UTF-8 as \xHH; the end of a long
// text only. (fmt 9 aborts when it is asked to show cut UTF-8.)
std::string shown(std::string_view bytes, std::size_t most = 60);

void write_json_string(std::string &out, std::string_view utf8);

} // namespace data

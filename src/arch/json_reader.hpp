// SPDX-License-Identifier: Apache-2.0
#pragma once
// Strict access to the members of a JSON object: no conversions between types, every complaint with file:line and key.
// null counts as absent, as in Python configurations.
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "arch/dims.hpp"

namespace arch {

class JsonReader {
public:
  // Parses a whole document that must be one object without repeated keys (E050).
  static nlohmann::json parse(std::string_view text, const std::string &where);

  // object: the members to read; section: name of the object inside the document, "" for the document itself.
  JsonReader(const nlohmann::json &object, std::string_view text, std::string where,
             std::string section = "");

  bool has(const std::string &key) const;
  Index integer(const std::string &key, Index low,
                Index high) const; // E052 missing, E053 type, E054 range
  Index integer_or(const std::string &key, Index fallback, Index low, Index high) const;
  double real(const std::string &key, double low, double high) const;
  double real_or(const std::string &key, double fallback, double low, double high) const;
  bool boolean(const std::string &key) const;
  bool boolean_or(const std::string &key, bool fallback) const;
  std::string word(const std::string &key) const;
  std::string word_or(const std::string &key, const std::string &fallback) const;
  JsonReader object(const std::string &key) const;

  const nlohmann::json &members() const { return object_; }
  [[noreturn]] void fail(const std::string &key, const char *number,
                         const std::string &advice) const;

private:
  const nlohmann::json &at(const std::string &key) const;
  std::string place(const std::string &key) const; // "file:line"

  const nlohmann::json &object_;
  std::string_view text_;
  std::string where_, section_;
};

} // namespace arch

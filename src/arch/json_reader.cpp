// SPDX-License-Identifier: Apache-2.0
#include "arch/json_reader.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "base/error.hpp"

namespace arch {
namespace {

using nlohmann::json;

constexpr int kMostDepth = 64;

std::string line_of(std::string_view text, std::size_t position) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(position, text.size()));
  return std::to_string(1 + std::count(text.begin(), end, '\n'));
}

// Position of `"key" :` at or after start; npos when it is not written plainly.
std::size_t position_of(std::string_view text, const std::string &key, std::size_t start) {
  const std::string quoted = '"' + key + '"';
  for (auto at = text.find(quoted, start); at != std::string_view::npos;
       at = text.find(quoted, at + 1)) {
    const auto next = text.find_first_not_of(" \t\r\n", at + quoted.size());
    if (next != std::string_view::npos && text[next] == ':') return at;
  }
  return std::string_view::npos;
}

std::string shortened(const json &value) {
  std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

} // namespace

json JsonReader::parse(std::string_view text, const std::string &where) {
  std::vector<std::set<std::string>> open; // keys seen in each open object
  std::string repeated;
  const auto refuse = [&](const std::string &read, const char *advice) {
    throw base::UserError(base::Exit::deck, "E050", where, read, advice);
  };
  // nlohmann takes it for the end of the text.
  if (text.find('\0') != std::string_view::npos) refuse("a zero byte", "a config.json is a text.");
  const auto watch = [&](int depth, json::parse_event_t event, json &value) {
    if (depth > kMostDepth) // copies and messages go down step by step
      refuse(fmt::format("nested more than {} deep", kMostDepth), "a config.json is flat.");
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(value.get<std::string>()).second &&
        repeated.empty()) {
      repeated = value.get<std::string>();
    }
    return true;
  };
  json document;
  try {
    document = json::parse(text.begin(), text.end(), watch);
  } catch (const json::parse_error &error) {
    throw base::UserError(base::Exit::deck, "E050",
                          fmt::format("{}:{}", where, line_of(text, error.byte)), "not JSON",
                          error.what());
  } catch (const json::exception &error) {
    throw base::UserError(base::Exit::deck, "E050", where, "not JSON that can be read",
                          error.what());
  }
  if (!repeated.empty()) {
    const std::size_t first = position_of(text, repeated, 0);
    const std::size_t second =
        first == std::string_view::npos ? first : position_of(text, repeated, first + 1);
    const std::string line = second == std::string_view::npos ? "" : ":" + line_of(text, second);
    throw base::UserError(base::Exit::deck, "E050", where + line, repeated,
                          "the key stands twice; keep one of them.");
  }
  if (!document.is_object()) {
    throw base::UserError(base::Exit::deck, "E050", where, shortened(document),
                          "a config.json is one object: { \"model_type\": \"deepseek_v3\", ... }.");
  }
  return document;
}

JsonReader::JsonReader(const json &object, std::string_view text, std::string where,
                       std::string section)
    : object_(object), text_(text), where_(std::move(where)), section_(std::move(section)) {}

std::string JsonReader::place(const std::string &key) const {
  std::size_t start = 0;
  if (!section_.empty()) start = std::min(position_of(text_, section_, 0), text_.size());
  const std::size_t at = position_of(text_, key, start);
  if (at == std::string_view::npos) return where_;
  return fmt::format("{}:{}", where_, line_of(text_, at));
}

void JsonReader::fail(const std::string &key, const char *number, const std::string &advice) const {
  const std::string name = section_.empty() ? key : section_ + "." + key;
  const std::string read = object_.contains(key) ? name + " = " + shortened(object_.at(key)) : name;
  throw base::UserError(base::Exit::deck, number, place(key), read, advice);
}

bool JsonReader::has(const std::string &key) const {
  return object_.contains(key) && !object_.at(key).is_null();
}

const json &JsonReader::at(const std::string &key) const {
  if (!has(key)) fail(key, "E052", "this key is needed and missing.");
  return object_.at(key);
}

Index JsonReader::integer(const std::string &key, Index low, Index high) const {
  const json &value = at(key);
  if (!value.is_number_integer()) fail(key, "E053", "a whole number is needed.");
  const bool huge =
      value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(high);
  if (huge || value.get<Index>() < low || value.get<Index>() > high) {
    fail(key, "E054", fmt::format("must lie between {} and {}.", low, high));
  }
  return value.get<Index>();
}

Index JsonReader::integer_or(const std::string &key, Index fallback, Index low, Index high) const {
  return has(key) ? integer(key, low, high) : fallback;
}

double JsonReader::real(const std::string &key, double low, double high) const {
  const json &value = at(key);
  if (!value.is_number()) fail(key, "E053", "a number is needed.");
  const double number = value.get<double>();
  if (!(number >= low && number <= high))
    fail(key, "E054", fmt::format("must lie between {} and {}.", low, high));
  return number;
}

double JsonReader::real_or(const std::string &key, double fallback, double low, double high) const {
  return has(key) ? real(key, low, high) : fallback;
}

bool JsonReader::boolean(const std::string &key) const {
  const json &value = at(key);
  if (!value.is_boolean()) fail(key, "E053", "true or false is needed.");
  return value.get<bool>();
}

bool JsonReader::boolean_or(const std::string &key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}

std::string JsonReader::word(const std::string &key) const {
  const json &value = at(key);
  if (!value.is_string()) fail(key, "E053", "a text in quotation marks is needed.");
  return value.get<std::string>();
}

std::string JsonReader::word_or(const std::string &key, const std::string &fallback) const {
  return has(key) ? word(key) : fallback;
}

JsonReader JsonReader::object(const std::string &key) const {
  const json &value = at(key);
  if (!value.is_object()) fail(key, "E053", "an object { ... } is needed.");
  return JsonReader(value, text_, where_, key);
}

} // namespace arch

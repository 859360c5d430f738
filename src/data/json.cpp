// SPDX-License-Identifier: Apache-2.0
#include "data/json.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/unicode.hpp"

namespace data {

namespace {

constexpr std::size_t kMaxDepth = 64;

std::string place(std::string_view text, std::size_t at) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t start = before.rfind('\n');
  return fmt::format("line {}, column {}", line,
                     before.size() - (start == std::string_view::npos ? 0 : start + 1));
}

// Receives nlohmann's events and builds the tree.
class Builder {
public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  explicit Builder(std::string_view text) : text_(text) {}

  bool null() { return add(Json{nullptr}); }
  bool boolean(bool value) { return add(Json{value}); }
  bool number_integer(number_integer_t value) {
    return add(Json{static_cast<std::int64_t>(value)});
  }
  bool number_unsigned(number_unsigned_t value) {
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return add(Json{static_cast<double>(value)});
    }
    return add(Json{static_cast<std::int64_t>(value)});
  }
  bool number_float(number_float_t value, const string_t &) { return add(Json{value}); }
  bool string(string_t &value) { return add(Json{std::move(value)}); }
  bool binary(binary_t &) { return false; }
  bool start_object(std::size_t) { return open(Json{Json::Object{}}); }
  bool start_array(std::size_t) { return open(Json{Json::Array{}}); }
  bool end_array() { return close(); }

  bool key(string_t &value) {
    std::get<Json::Object>(open_.back().value).emplace_back(std::move(value), Json{});
    return true;
  }

  bool end_object() {
    const auto &members = std::get<Json::Object>(open_.back().value);
    std::unordered_set<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto &[key, member] : members) {
      if (!keys.insert(key).second)
        throw JsonError(fmt::format("the key \"{}\" stands twice in one object", key));
    }
    return close();
  }

  bool parse_error(std::size_t position, const std::string &token,
                   const nlohmann::detail::exception &) {
    throw JsonError(
        fmt::format("no valid JSON at {}, near {}", place(text_, position), shown(token, 40)));
  }

  Json root;

private:
  bool add(Json &&value) {
    if (open_.empty()) {
      root = std::move(value);
    } else if (auto *array = std::get_if<Json::Array>(&open_.back().value)) {
      array->push_back(std::move(value));
    } else {
      std::get<Json::Object>(open_.back().value).back().second = std::move(value);
    }
    return true;
  }
  bool open(Json &&value) {
    if (open_.size() == kMaxDepth)
      throw JsonError(fmt::format("nested more than {} deep", kMaxDepth));
    open_.push_back(std::move(value));
    return true;
  }
  bool close() {
    Json done = std::move(open_.back());
    open_.pop_back();
    return add(std::move(done));
  }

  std::string_view text_;
  std::vector<Json> open_; // objects and arrays not yet closed
};

void new_line(std::string &out, int indent) {
  out.push_back('\n');
  out.append(static_cast<std::size_t>(indent) * 4, ' ');
}

} // namespace

Json Json::parse(std::string_view text) {
  // nlohmann takes it for the end of the text.
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    throw JsonError(fmt::format("a zero byte at {}", place(text, zero)));
  Builder builder(text);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder.root);
}

const Json *Json::find(std::string_view key) const {
  const auto *object = as<Object>();
  if (!object) return nullptr;
  const auto found = std::ranges::find(*object, key, &std::pair<std::string, Json>::first);
  return found == object->end() ? nullptr : &found->second;
}

const char *Json::kind() const {
  constexpr std::array<const char *, 7> names = {
      "null", "true or false", "a whole number", "a number", "a string", "an array", "an object"};
  return names[value.index()];
}

std::string shown(std::string_view bytes, std::size_t most) {
  std::string out = "\"";
  if (bytes.size() > most) {
    out += "...";
    bytes.remove_prefix(bytes.size() - most);
    while (!bytes.empty() && (static_cast<unsigned char>(bytes[0]) & 0xC0) == 0x80) {
      bytes.remove_prefix(1);
    }
  }
  while (!bytes.empty()) {
    const std::size_t valid = std::min(unicode::first_invalid(bytes), bytes.size());
    for (const char c : bytes.substr(0, valid)) {
      if (c == '"' || c == '\\') out += '\\';
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      } else {
        out += c;
      }
    }
    bytes.remove_prefix(valid);
    if (bytes.empty()) break;
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[0]));
    bytes.remove_prefix(1);
  }
  return out + '"';
}

void write_json_string(std::string &out, std::string_view utf8) {
  out.push_back('"');
  for (const char c : utf8) {
    switch (c) {
    case '"': out += "\\\""; break;
    case '\\': out += "\\\\"; break;
    case '\n': out += "\\n"; break;
    case '\r': out += "\\r"; break;
    case '\t': out += "\\t"; break;
    case '\b': out += "\\b"; break;
    case '\f': out += "\\f"; break;
    default:
      if (static_cast<unsigned char>(c) < 0x20) {
        out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
      } else {
        out.push_back(c);
      }
    }
  }
  out.push_back('"');
}

void Json::write(std::string &out, int indent) const {
  if (is_null()) out += "null";
  if (const auto *flag = as<bool>()) out += *flag ? "true" : "false";
  if (const auto *whole = as<std::int64_t>()) out += fmt::format("{}", *whole);
  if (const auto *real = as<double>()) out += fmt::format("{}", *real);
  if (const auto *text = as<std::string>()) write_json_string(out, *text);
  if (const auto *array = as<Array>()) {
    if (array->empty()) out += "[]";
    for (std::size_t i = 0; i < array->size(); ++i) {
      out.push_back(i == 0 ? '[' : ',');
      new_line(out, indent + 1);
      (*array)[i].write(out, indent + 1);
    }
    if (!array->empty()) new_line(out, indent), out.push_back(']');
  }
  if (const auto *object = as<Object>()) {
    if (object->empty()) out += "{}";
    for (std::size_t i = 0; i < object->size(); ++i) {
      out.push_back(i == 0 ? '{' : ',');
      new_line(out, indent + 1);
      write_json_string(out, (*object)[i].first);
      out += ": ";
      (*object)[i].second.write(out, indent + 1);
    }
    if (!object->empty()) new_line(out, indent), out.push_back('}');
  }
}

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "reward/fields.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace reward {

using data::Json;

const Json *field(const Json &row, std::string_view path) {
  const Json *at = row.find(path); // names with dots in them, too
  if (at != nullptr) return at;
  at = &row;
  while (at != nullptr && !path.empty()) {
    const std::size_t dot = std::min(path.find('.'), path.size());
    const std::string_view head = path.substr(0, dot);
    path.remove_prefix(std::min(dot + 1, path.size()));
    if (const auto *array = at->as<Json::Array>()) {
      std::size_t index = array->size();
      const auto [end, error] = std::from_chars(head.data(), head.data() + head.size(), index);
      const bool whole = error == std::errc() && end == head.data() + head.size();
      at = whole && index < array->size() ? &(*array)[index] : nullptr;
    } else {
      at = at->find(head);
    }
  }
  return at;
}

bool scalar_text(const Json &value, std::string &out) {
  if (const auto *text = value.as<std::string>()) {
    out = *text;
  } else if (const auto *whole = value.as<std::int64_t>()) {
    out = fmt::format("{}", *whole);
  } else if (const auto *real = value.as<double>()) {
    out = fmt::format("{}", *real);
  } else if (const auto *flag = value.as<bool>()) {
    out = *flag ? "true" : "false";
  } else if (value.is_null()) {
    out.clear();
  } else {
    return false;
  }
  return true;
}

} // namespace reward

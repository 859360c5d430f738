// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/places.hpp"

#include <charconv>
#include <string_view>

#include <fmt/format.h>

namespace checkpoint {

namespace fs = std::filesystem;

std::string step_name(std::int64_t step) { return fmt::format("step-{:08}", step); }

std::optional<std::int64_t> step_of(const fs::path &directory) {
  const std::string name = directory.filename().string();
  const std::string_view prefix = "step-";
  if (name.rfind(prefix, 0) != 0 || name.size() < prefix.size() + 8) return std::nullopt;
  std::int64_t step = 0;
  const char *end = name.data() + name.size();
  const auto [last, fault] = std::from_chars(name.data() + prefix.size(), end, step);
  if (fault != std::errc() || last != end || step < 0) return std::nullopt;
  return step;
}

fs::path free_name(const fs::path &directory, const std::string &suffix) {
  fs::path name = directory.string() + "." + suffix;
  std::error_code error;
  for (int i = 2; fs::exists(fs::symlink_status(name, error)); ++i)
    name = fmt::format("{}.{}-{}", directory.string(), suffix, i);
  return name;
}

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The log of a run: console (standard error for warnings and errors, standard output for the rest)
// and, once open_file was called, run.log. Behind it is spdlog.
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace base::log {

enum class Level { debug, info, warn, error };

void open_file(const std::string &path); // appends; lines carry an ISO time
void set_console_level(Level level);
void write(Level level, std::string_view text);
void flush();

template <class... A> void debug(fmt::format_string<A...> f, A &&...a) {
  write(Level::debug, fmt::format(f, std::forward<A>(a)...));
}
template <class... A> void info(fmt::format_string<A...> f, A &&...a) {
  write(Level::info, fmt::format(f, std::forward<A>(a)...));
}
template <class... A> void warn(fmt::format_string<A...> f, A &&...a) {
  write(Level::warn, fmt::format(f, std::forward<A>(a)...));
}
template <class... A> void error(fmt::format_string<A...> f, A &&...a) {
  write(Level::error, fmt::format(f, std::forward<A>(a)...));
}

} // namespace base::log

// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json_events.hpp"

#include <fmt/format.h>

#include "base/text.hpp"

namespace checkpoint {

std::string shown(std::string_view bytes, std::size_t most) {
  const bool cut = bytes.size() > most;
  if (cut) {
    bytes = bytes.substr(0, most);
    for (int i = 0; i < 3 && !base::text::valid_utf8(bytes); ++i) bytes.remove_suffix(1);
  }
  const bool utf8 = base::text::valid_utf8(bytes);
  std::string out = "\"";
  for (const char c : bytes) {
    const auto u = static_cast<unsigned char>(c);
    if (u < 0x20 || u == 0x7F || (u >= 0x80 && !utf8)) {
      out += fmt::format("\\x{:02x}", u);
    } else {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
  }
  return out + (cut ? "...\"" : "\"");
}

void JsonEvents::read(std::string_view text) {
  if (const auto zero = text.find('\0'); zero != std::string_view::npos)
    fail(fmt::format("holds a zero byte at byte {} of its JSON", zero));
  nlohmann::json::sax_parse(text.begin(), text.end(), this);
}

void JsonEvents::fail(std::string_view what) const {
  throw base::UserError(base::Exit::checkpoint, number_, where_, what, advice_);
}

bool JsonEvents::parse_error(std::size_t position, const std::string &token,
                             const nlohmann::detail::exception &error) {
  // The part of nlohmann's text that says what was expected; the rest is told here.
  std::string reason = error.what();
  if (const auto cut = reason.find(" - "); cut != std::string::npos) reason.erase(0, cut + 3);
  if (const auto cut = reason.find("; last read"); cut != std::string::npos) reason.erase(cut);
  if (!base::text::valid_utf8(reason) || reason.size() > 160) reason = "syntax";
  fail(fmt::format("no valid JSON at byte {}, near {}: {}", position, shown(token, 40), reason));
}

} // namespace checkpoint

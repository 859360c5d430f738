// SPDX-License-Identifier: Apache-2.0
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace base::text {
namespace {

struct Suffix {
  std::string_view name;
  std::int64_t factor;
};

constexpr std::array<Suffix, 9> kSuffixes{{{"Ki", std::int64_t{1} << 10},
                                           {"Mi", std::int64_t{1} << 20},
                                           {"Gi", std::int64_t{1} << 30},
                                           {"Ti", std::int64_t{1} << 40},
                                           {"k", 1'000},
                                           {"M", 1'000'000},
                                           {"G", 1'000'000'000},
                                           {"T", 1'000'000'000'000},
                                           {"", 1}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

__extension__ typedef __int128 Wide;

} // namespace

std::optional<std::int64_t> parse_count(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (negative || (!text.empty() && text.front() == '+')) text.remove_prefix(1);
  // Mantissa as digits / 10^decimals, so that no rounding takes place.
  Wide mantissa = 0, scale = 1;
  std::size_t at = 0, digits = 0;
  bool point = false;
  for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !point)); ++at) {
    if (text[at] == '.') {
      point = true;
      continue;
    }
    if (++digits > 19) return std::nullopt;
    mantissa = mantissa * 10 + (text[at] - '0');
    if (point) scale *= 10;
  }
  if (at == 0 || !is_digit(text[0]) || text[at - 1] == '.') return std::nullopt;
  const std::string_view rest = text.substr(at);
  const auto suffix = std::find_if(kSuffixes.begin(), kSuffixes.end(),
                                   [&](const Suffix &s) { return s.name == rest; });
  if (suffix == kSuffixes.end() || (point && rest.empty())) return std::nullopt;
  const Wide product = mantissa * suffix->factor; // below 10^19 * 2^40 < 2^127
  if (product % scale != 0) return std::nullopt;
  const Wide value = negative ? -(product / scale) : product / scale;
  if (value > std::numeric_limits<std::int64_t>::max() ||
      value < std::numeric_limits<std::int64_t>::min())
    return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::optional<double> parse_duration(std::string_view text) {
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (unit.empty() || unit == "s") return value;
  if (unit == "m") return value * 60;
  if (unit == "h") return value * 3600;
  if (unit == "d") return value * 86400;
  return std::nullopt;
}

namespace {

// Three significant digits and a unit: 1.23, 12.3, 123.
std::string three_digits(double value) {
  const double size = std::fabs(value);
  return fmt::format("{:.{}f}", value, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

std::string scaled(double value, double base, const std::vector<const char *> &units) {
  std::size_t unit = 0;
  while (std::fabs(value) >= base - base / 2000 && unit + 1 < units.size()) {
    value /= base;
    ++unit;
  }
  const std::string number =
      unit == 0 && value == std::floor(value) ? fmt::format("{:.0f}", value) : three_digits(value);
  return units[unit][0] == '\0' ? number : number + " " + units[unit];
}

} // namespace

std::string bytes(std::int64_t count) {
  return scaled(static_cast<double>(count), 1024, {"B", "KiB", "MiB", "GiB", "TiB", "PiB"});
}

std::string count(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  return scaled(value, 1000, {"", "k", "M", "G", "T", "P", "E"});
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return fmt::format("{} s", seconds);
  if (seconds < 0) return "-" + duration(-seconds);
  if (seconds < 59.95) return fmt::format("{:.{}f} s", seconds, seconds < 9.995 ? 2 : 1);
  const double whole = std::round(seconds);
  const auto part = [&](double unit, double of) {
    return static_cast<int>(std::fmod(std::floor(whole / unit), of));
  };
  if (whole < 3600) return fmt::format("{} min {:02} s", part(60, 60), part(1, 60));
  const double minutes = std::round(seconds / 60);
  if (minutes < 24 * 60)
    return fmt::format("{:.0f} h {:02} min", std::floor(minutes / 60),
                       static_cast<int>(std::fmod(minutes, 60)));
  const double hours = std::round(seconds / 3600);
  return fmt::format("{:.0f} d {:02} h", std::floor(hours / 24),
                     static_cast<int>(std::fmod(hours, 24)));
}

std::string with_commas(std::int64_t n) {
  const std::string digits = fmt::format("{}", n);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const bool group = (digits.size() - i) % 3 == 0 && i > 0 && digits[i - 1] != '-';
    if (group) text += ',';
    text += digits[i];
  }
  return text;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j < row.size(); ++j) {
      const std::size_t up = row[j];
      row[j] = std::min({up + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1] ? 1 : 0)});
      diagonal = up;
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view word, const std::vector<std::string> &candidates) {
  std::string best;
  std::size_t least = std::min<std::size_t>(4, word.size()); // within 3 and below the word's length
  for (const std::string &candidate : candidates) {
    const std::size_t longer = std::max(word.size(), candidate.size());
    if (longer - std::min(word.size(), candidate.size()) >= least) continue;
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

namespace {

// Length of the UTF-8 sequence that begins at i; 0 where none does.
std::size_t sequence_at(std::string_view bytes, std::size_t i) {
  const auto byte = [&](std::size_t k) -> unsigned {
    return k < bytes.size() ? static_cast<unsigned char>(bytes[k]) : 0U;
  };
  const unsigned first = byte(i);
  if (first < 0x80) return 1;
  const unsigned length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  unsigned point = first & (0xFFU >> (length + 1));
  for (unsigned k = 1; k < length; ++k) {
    const unsigned next = byte(i + k);
    if ((next & 0xC0) != 0x80) return 0;
    point = (point << 6) | (next & 0x3F);
  }
  if (length == 3 && (point < 0x800 || (point >= 0xD800 && point < 0xE000))) return 0;
  if (length == 4 && (point < 0x10000 || point > 0x10FFFF)) return 0;
  return length;
}

} // namespace

bool valid_utf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const std::size_t length = sequence_at(bytes, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string readable(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const std::size_t length = sequence_at(bytes, i);
    if (length == 0 || (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F) {
      out += fmt::format("\\x{:02x}", first);
      ++i;
    } else {
      out += bytes.substr(i, length);
      i += length;
    }
  }
  return out;
}

} // namespace base::text

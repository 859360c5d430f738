// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small text helpers: numbers with suffixes ("4Ki", "14.8T"), durations ("6h"), byte sizes, edit
// distance, UTF-8.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace base::text {

// Whole number with an optional suffix: k, M, G, T are powers of 1000, Ki, Mi, Gi, Ti of 1024.
// "14.8T" is allowed where the product is whole. Empty when the text is none of these or overflows.
std::optional<std::int64_t> parse_count(std::string_view text);
// Seconds from "90s", "10m", "6h", "2d", "1.5h" or a bare number of seconds.
std::optional<double> parse_duration(std::string_view text);
std::string bytes(std::int64_t count);   // "61.3 GiB"
std::string count(double value);         // "543 k", "14.8 T"
std::string duration(double seconds);    // "2 h 03 min", "12.4 s"
std::string with_commas(std::int64_t n); // "671,026,419,200"
std::size_t edit_distance(std::string_view a, std::string_view b);
// The nearest of the candidates within a distance of 3 (and less than the word's length), or "".
std::string nearest(std::string_view word, const std::vector<std::string> &candidates);
bool valid_utf8(std::string_view bytes);
// As it stands, but what is not UTF-8 and controls (line breaks and tabs excepted) as \xHH: for messages with foreign text.
std::string readable(std::string_view bytes);

} // namespace base::text

// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include <gtest/gtest.h>
#include <xxhash.h>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"

namespace {

namespace text = base::text;

TEST(Text, CountsWithSuffixes) {
  EXPECT_EQ(text::parse_count("0"), 0);
  EXPECT_EQ(text::parse_count("-12"), -12);
  EXPECT_EQ(text::parse_count("4k"), 4'000);
  EXPECT_EQ(text::parse_count("4Ki"), 4'096);
  EXPECT_EQ(text::parse_count("3M"), 3'000'000);
  EXPECT_EQ(text::parse_count("3Mi"), 3 << 20);
  EXPECT_EQ(text::parse_count("2G"), 2'000'000'000);
  EXPECT_EQ(text::parse_count("2Gi"), std::int64_t{2} << 30);
  EXPECT_EQ(text::parse_count("1Ti"), std::int64_t{1} << 40);
  EXPECT_EQ(text::parse_count("14.8T"), 14'800'000'000'000);
  EXPECT_EQ(text::parse_count("0.5Ki"), 512);
  EXPECT_EQ(text::parse_count("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(text::parse_count("-9223372036854775808"), std::numeric_limits<std::int64_t>::min());
}

TEST(Text, WhatIsNoCount) {
  for (const char *bad : {"",
                          "-",
                          "k",
                          ".5k",
                          "5.k",
                          "1.5",
                          "1.0",
                          "1.0005k",
                          "0.3Ki",
                          "4 k",
                          "4K",
                          "4ki",
                          "4kk",
                          "0x10",
                          "1e3",
                          "1..2k",
                          "nan",
                          "inf",
                          "9223372036854775808",
                          "-9223372036854775809",
                          "9223373T",
                          "99999999999999999999",
                          "9999999999999999999Ti",
                          "--4",
                          "4k\n"})
    EXPECT_FALSE(text::parse_count(bad)) << bad;
}

TEST(Text, Durations) {
  EXPECT_EQ(text::parse_duration("90s"), 90);
  EXPECT_EQ(text::parse_duration("10m"), 600);
  EXPECT_EQ(text::parse_duration("6h"), 21'600);
  EXPECT_EQ(text::parse_duration("2d"), 172'800);
  EXPECT_EQ(text::parse_duration("1.5h"), 5'400);
  EXPECT_EQ(text::parse_duration("12.5"), 12.5);
  for (const char *bad : {"", "h", "-1h", "6 h", "6H", "6hours", "inf", "nan", "1e999h", "6h30m"})
    EXPECT_FALSE(text::parse_duration(bad)) << bad;
}

TEST(Text, NumbersForPeople) {
  EXPECT_EQ(text::bytes(0), "0 B");
  EXPECT_EQ(text::bytes(1023), "1023 B");
  EXPECT_EQ(text::bytes(1024), "1.00 KiB");
  EXPECT_EQ(text::bytes(65'820'000'000), "61.3 GiB");
  EXPECT_EQ(text::bytes(std::int64_t{1023} << 20), "1023 MiB");
  EXPECT_EQ(text::bytes((std::int64_t{1} << 30) - 1), "1.00 GiB");
  EXPECT_EQ(text::count(12), "12");
  EXPECT_EQ(text::count(543'210), "543 k");
  EXPECT_EQ(text::count(14.8e12), "14.8 T");
  EXPECT_EQ(text::count(999'999), "1.00 M");
  EXPECT_EQ(text::duration(12.4), "12.4 s");
  EXPECT_EQ(text::duration(0.25), "0.25 s");
  EXPECT_EQ(text::duration(59.99), "1 min 00 s");
  EXPECT_EQ(text::duration(185), "3 min 05 s");
  EXPECT_EQ(text::duration(7380), "2 h 03 min");
  EXPECT_EQ(text::duration(7199), "2 h 00 min");
  EXPECT_EQ(text::duration(90'000), "1 d 01 h");
  EXPECT_EQ(text::duration(-60), "-1 min 00 s");
  EXPECT_EQ(text::with_commas(671'026'419'200), "671,026,419,200");
  EXPECT_EQ(text::with_commas(0), "0");
  EXPECT_EQ(text::with_commas(999), "999");
  EXPECT_EQ(text::with_commas(-1000), "-1,000");
  EXPECT_EQ(text::with_commas(-100), "-100");
}

TEST(Text, NearestWord) {
  EXPECT_EQ(text::edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(text::edit_distance("", "abc"), 3U);
  const std::vector<std::string> keys{"sequence", "micro_batch", "global_batch", "ep"};
  EXPECT_EQ(text::nearest("micro_bach", keys), "micro_batch");
  EXPECT_EQ(text::nearest("sequnece", keys), "sequence");
  EXPECT_EQ(text::nearest("temperature", keys), "");
  EXPECT_EQ(text::nearest("xy", keys), ""); // both letters differ from ep
  EXPECT_EQ(text::nearest("dp", keys), "ep");
  EXPECT_EQ(text::nearest("", keys), "");
  EXPECT_EQ(text::nearest(std::string(1 << 20, 'a'), keys), "");
}

TEST(Text, Utf8) {
  for (const char *good : {"", "plain", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                           "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(text::valid_utf8(good)) << good;
  for (const char *bad :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xE2\x82",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "a\xE2\x82z"})
    EXPECT_FALSE(text::valid_utf8(bad)) << bad;
  EXPECT_TRUE(text::valid_utf8(std::string_view("a\0b", 3)));
}

TEST(Text, ReadableKeepsTextAndSpellsTheRest) {
  EXPECT_EQ(text::readable("gr\xc3\xbc\xc3\x9f\n\t\xf0\x9f\x90\x9f"),
            "gr\xc3\xbc\xc3\x9f\n\t\xf0\x9f\x90\x9f");
  EXPECT_EQ(text::readable("a\xff\x1b[2J\x7f"), "a\\xff\\x1b[2J\\x7f");
  EXPECT_EQ(text::readable(std::string_view("\0\xe4\xbd", 3)), "\\x00\\xe4\\xbd");
  const base::UserError error(base::Exit::data, "E101", "f\r", "\xff", "try\nagain");
  EXPECT_STREQ(error.what(), "f\\x0d: \\xff\n  try\n  again     [E101]");
}

TEST(Hash, IsXxh3) {
  // Values of xxHash 0.8 (xxhsum -H2, -H3) for the empty text.
  EXPECT_EQ(base::hash128("").hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(base::hash64(""), 0x2d06800538d394c2U);
  std::string big; // long inputs take the vector body: the same values as the library's own body
  for (std::uint32_t i = 0; i < (1 << 20); ++i) big += static_cast<char>(i * i >> 7);
  const XXH128_hash_t library = XXH3_128bits(big.data(), big.size());
  EXPECT_EQ(base::hash128(big), (base::Hash128{library.high64, library.low64}));
  EXPECT_EQ(base::hash64(big), XXH3_64bits(big.data(), big.size()));
  std::string other = big;
  other[123'456] ^= 1;
  EXPECT_NE(base::hash128(big), base::hash128(other));
  EXPECT_EQ(base::hash128(big), base::hash128(big.data(), big.size()));
  EXPECT_EQ(base::Hash128({1, 2}).hex(), "00000000000000010000000000000002");
}

TEST(Clock, SpeaksIso8601) {
  const std::string now = base::utc_now();
  ASSERT_EQ(now.size(), 20U);
  EXPECT_EQ(now[4], '-');
  EXPECT_EQ(now[10], 'T');
  EXPECT_EQ(now.back(), 'Z');
  const base::Stopwatch watch;
  const double first = watch.seconds();
  EXPECT_GE(first, 0);
  EXPECT_GE(watch.seconds(), first);
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// The number formats of GGUF against double arithmetic, and the container's writer: bytes, order, faults of the disk.
#include <cmath>
#include <csignal>
#include <limits>
#include <numeric>
#include <sys/resource.h>

#include "checkpoint/gguf.hpp"
#include "tests/unit/checkpoint/sample.hpp"

namespace {

namespace fs = std::filesystem;
namespace gguf = checkpoint::gguf;
using gguf::Type;

// The nearest of the format's finite numbers, ties to the even one, by their values alone. order: bits of the numbers >= 0,
// ascending.
std::uint16_t nearest(double x, const std::vector<double> &numbers) {
  const auto above = std::lower_bound(numbers.begin(), numbers.end(), x);
  const auto i = static_cast<std::size_t>(above - numbers.begin());
  if (above == numbers.end()) return static_cast<std::uint16_t>(numbers.size() - 1);
  if (*above == x || i == 0) return static_cast<std::uint16_t>(i);
  const double up = *above - x, down = x - numbers[i - 1];
  if (up != down) return static_cast<std::uint16_t>(up < down ? i : i - 1);
  return static_cast<std::uint16_t>(i % 2 == 0 ? i : i - 1);
}

// All finite F16 numbers >= 0 from their definition.
std::vector<double> f16_numbers() {
  std::vector<double> numbers;
  for (int bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = bits >> 10, fraction = bits & 0x3ff;
    numbers.push_back(exponent == 0 ? std::ldexp(fraction, -24)
                                    : std::ldexp(1024 + fraction, exponent - 25));
  }
  return numbers;
}

TEST(GgufNumbers, EveryF16ComesBack) {
  const auto numbers = f16_numbers();
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = gguf::from_f16(half);
    const int magnitude = bits & 0x7fff;
    if (magnitude < 0x7c00) {
      const double size = numbers[static_cast<std::size_t>(magnitude)];
      ASSERT_EQ(value, bits & 0x8000 ? -size : size) << bits;
      ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    } else {
      ASSERT_EQ(std::isnan(value), magnitude > 0x7c00) << bits;
      ASSERT_EQ(std::isinf(value), magnitude == 0x7c00) << bits;
    }
    if (std::isnan(value))
      ASSERT_TRUE(std::isnan(gguf::from_f16(gguf::to_f16(value)))) << bits;
    else
      ASSERT_EQ(gguf::to_f16(value), half) << bits;
  }
}

TEST(GgufNumbers, F16TakesTheNearestAndEvenOnTies) {
  const auto numbers = f16_numbers();
  for (std::size_t i = 0; i + 1 < numbers.size(); ++i) {
    const double middle = (numbers[i] + numbers[i + 1]) / 2;
    const auto tie = static_cast<float>(middle); // exact: one more bit than F16 has
    ASSERT_EQ(static_cast<double>(tie), middle);
    for (const float x : {tie, std::nextafterf(tie, 0), std::nextafterf(tie, 1e9F)}) {
      const std::uint16_t right = nearest(x, numbers);
      ASSERT_EQ(gguf::to_f16(x), right) << x;
      ASSERT_EQ(gguf::to_f16(-x), right | 0x8000) << x;
    }
  }
  EXPECT_EQ(gguf::to_f16(65504), 0x7bff);
  EXPECT_EQ(gguf::to_f16(std::nextafterf(65520, 0)), 0x7bff);
  for (const float x :
       {65520.0F, 1e10F, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity()})
    EXPECT_EQ(gguf::to_f16(x), 0x7c00) << x;
  EXPECT_EQ(gguf::to_f16(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_EQ(gguf::to_f16(-0.0F), 0x8000);
}

TEST(GgufNumbers, EveryBf16ComesBackAndTiesGoToEven) {
  for (int bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = gguf::from_bf16(half);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(gguf::from_bf16(gguf::to_bf16(value)))) << bits;
      continue;
    }
    ASSERT_EQ(gguf::to_bf16(value), half);
    if ((bits & 0x7fff) >= 0x7f7f) continue;
    const double next = gguf::from_bf16(static_cast<std::uint16_t>(bits + 1));
    const auto tie = static_cast<float>((value + next) / 2);
    const auto even = static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(gguf::to_bf16(tie), even) << bits;
    ASSERT_EQ(gguf::to_bf16(std::nextafterf(tie, value)), half) << bits;
    ASSERT_EQ(gguf::to_bf16(std::nextafterf(tie, static_cast<float>(next))), bits + 1) << bits;
  }
  // Not to be rounded up into infinity, whatever stands in the lower half.
  EXPECT_TRUE(std::isnan(gguf::from_bf16(gguf::to_bf16(std::bit_cast<float>(0x7f800001U)))));
  EXPECT_TRUE(std::isnan(gguf::from_bf16(gguf::to_bf16(std::bit_cast<float>(0x7fffffffU)))));
}

TEST(GgufNumbers, BlocksOfQ8) {
  std::vector<float> x(64);
  std::iota(x.begin(), x.begin() + 32, -15.5F);
  x[7] = 127; // d = 1, so that q = x rounded, halves away from zero
  std::vector<std::byte> blocks(2 * gguf::kBlockBytes);
  gguf::to_q8_0(x, blocks.data());
  std::uint16_t d = 0;
  std::memcpy(&d, blocks.data(), 2);
  EXPECT_EQ(d, gguf::to_f16(1));
  for (std::size_t i = 0; i < 32; ++i)
    EXPECT_EQ(static_cast<std::int8_t>(blocks[2 + i]),
              static_cast<int>(x[i] < 0 ? std::ceil(x[i] - 0.5F) : std::floor(x[i] + 0.5F)))
        << x[i];
  // The second block is zeros.
  for (std::size_t i = gguf::kBlockBytes; i < blocks.size(); ++i) EXPECT_EQ(blocks[i], std::byte{});
  // Tiny values: no division by a scale that is no number.
  std::fill(x.begin(), x.end(), std::numeric_limits<float>::denorm_min());
  gguf::to_q8_0(x, blocks.data());
  std::memcpy(&d, blocks.data(), 2);
  EXPECT_EQ(d, 0);
}

TEST(GgufNumbers, NamesTheFirstThatATypeCannotHold) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(gguf::unfit(Type::f16, std::vector<float>{1, 65519, -65520, 1e9F}), -65520.0F);
  EXPECT_FALSE(gguf::unfit(Type::f16, std::vector<float>{nan, 65519}));
  EXPECT_TRUE(gguf::unfit(Type::q8_0, std::vector<float>{1, nan}));
  EXPECT_EQ(gguf::unfit(Type::q8_0, std::vector<float>{8e6F, 9e6F}), 9e6F);
  EXPECT_FALSE(gguf::unfit(Type::f32, std::vector<float>{3e38F}));
  EXPECT_FALSE(gguf::unfit(Type::bf16, std::vector<float>{3e38F}));
  EXPECT_TRUE(gguf::unfit(Type::bf16, std::vector<float>{std::numeric_limits<float>::max()}));
}

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i) & 0xff);
  return text;
}
std::string counted(const std::string &text) { return little(text.size(), 8) + text; }

TEST(GgufWriter, ByteForByte) {
  const sample::Scratch folder;
  gguf::KeyValues keys;
  keys.add("a", std::uint32_t{7});
  keys.add("b", true);
  keys.add("c", "ü");
  keys.add("d", std::vector<std::string>{"x", ""});
  keys.add("e", std::vector<std::int32_t>{-1});
  keys.add("f", 1.5F);
  gguf::Writer writer(
      folder / "m.gguf", keys,
      {{"one", {3}, Type::f32}, {"none", {0, 2}, Type::f32}, {"two", {2, 2}, Type::bf16}});
  EXPECT_FALSE(fs::exists(folder / "m.gguf"));
  writer.append(std::vector<float>{1, -2, 0.5F, 1}); // into the next tensor
  writer.append(std::vector<float>{2, 3, 4});
  writer.finish();

  std::string right = "GGUF" + little(3, 4) + little(3, 8) + little(7, 8);
  right += counted("a") + little(4, 4) + little(7, 4);
  right += counted("b") + little(7, 4) + "\1";
  right += counted("c") + little(8, 4) + counted("ü");
  right += counted("d") + little(9, 4) + little(8, 4) + little(2, 8) + counted("x") + counted("");
  right += counted("e") + little(9, 4) + little(5, 4) + little(1, 8) + little(0xffffffff, 4);
  right += counted("f") + little(6, 4) + little(std::bit_cast<std::uint32_t>(1.5F), 4);
  right += counted("general.alignment") + little(4, 4) + little(32, 4);
  right += counted("one") + little(1, 4) + little(3, 8) + little(0, 4) + little(0, 8);
  right +=
      counted("none") + little(2, 4) + little(0, 8) + little(2, 8) + little(0, 4) + little(32, 8);
  right +=
      counted("two") + little(2, 4) + little(2, 8) + little(2, 8) + little(30, 4) + little(32, 8);
  right.resize((right.size() + 31) / 32 * 32, '\0');
  for (const float x : {1.0F, -2.0F, 0.5F}) right += little(std::bit_cast<std::uint32_t>(x), 4);
  right.append(20, '\0');
  for (const float x : {1.0F, 2.0F, 3.0F, 4.0F}) right += little(sample::bf16(x), 2);
  right.append(24, '\0');
  EXPECT_EQ(sample::read(folder / "m.gguf"), right);
  EXPECT_EQ(writer.bytes(), right.size());
  EXPECT_EQ(sample::names(folder.path()), std::vector<std::string>{"m.gguf"});
}

TEST(GgufWriter, LeavesNothingUnfinished) {
  const sample::Scratch folder;
  {
    gguf::Writer writer(folder / "m.gguf", {}, {{"one", {2}, Type::f32}});
    writer.append(std::vector<float>{1});
  }
  EXPECT_TRUE(sample::names(folder.path()).empty());
  EXPECT_EQ(sample::fault([&] { gguf::Writer(folder / "no" / "m.gguf", {}, {}); }), "E149");
}

TEST(GgufWriter, FullDisk) {
  const sample::Scratch folder;
  sample::write(folder / "m.gguf", "the old file");
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100'000, old.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string number = sample::fault([&] {
    gguf::Writer writer(folder / "m.gguf", {}, {{"one", {100'000}, Type::f32}});
    writer.append(std::vector<float>(100'000, 1.0F));
    writer.finish();
  });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(number, "E149");
  EXPECT_EQ(sample::names(folder.path()), std::vector<std::string>{"m.gguf"});
  EXPECT_EQ(sample::read(folder / "m.gguf"), "the old file");
  // More than any disk has is refused before a byte is written.
  std::string text;
  EXPECT_EQ(sample::fault(
                [&] {
                  gguf::Writer(folder / "n.gguf", {}, {{"one", {1 << 30, 1 << 28}, Type::f32}});
                },
                &text),
            "E149");
  EXPECT_NE(text.find("left"), std::string::npos) << text;
}

} // namespace

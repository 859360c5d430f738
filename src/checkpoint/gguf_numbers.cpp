// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "checkpoint/gguf.hpp"

namespace checkpoint::gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is written as memory holds it");

constexpr std::uint32_t kInfinity = 0x7f800000;
constexpr std::uint32_t kF16Overflow =
    0x477ff000; // 65520: half way from the largest, 65504, to the next

// m / 2^shift, nearest, ties to even.
constexpr std::uint32_t shifted(std::uint32_t m, std::uint32_t shift) {
  return (m + (1U << (shift - 1)) - 1 + (m >> shift & 1)) >> shift;
}

float scale_of(std::span<const float> block) {
  float largest = 0;
  for (const float x : block) largest = std::max(largest, std::fabs(x));
  return largest / 127.0F;
}

template <class F> void each_half(std::span<const float> values, std::byte *to, F convert) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = convert(values[i]);
    std::memcpy(to + 2 * i, &half, 2);
  }
}

} // namespace

const char *name_of(Type type) {
  switch (type) {
  case Type::f32: return "F32";
  case Type::f16: return "F16";
  case Type::q8_0: return "Q8_0";
  case Type::bf16: return "BF16";
  }
  return "?";
}

std::uint16_t to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000, m = bits & 0x7fffffff;
  std::uint32_t half = 0;
  if (m > kInfinity) {
    half = 0x7e00 | (m >> 13 & 0x1ff); // quiet, with what fits of its payload
  } else if (m >= kF16Overflow) {
    half = 0x7c00;
  } else if (m >= 0x38800000) { // 2^-14 and above: exponents count from 15 instead of 127
    half = shifted(m - (112U << 23), 13);
  } else if (m >=
             0x33000000) { // 2^-25 and above: a multiple of 2^-24; the carry into 2^-14 is right
    half = shifted((m & 0x7fffff) | 0x800000, 126 - (m >> 23));
  }
  return static_cast<std::uint16_t>(sign | half);
}

float from_f16(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16, m = bits & 0x7fffU;
  if (m >= 0x7c00) return std::bit_cast<float>(sign | kInfinity | (m & 0x3ff) << 13);
  if (m >= 0x0400) return std::bit_cast<float>(sign | ((m << 13) + (112U << 23)));
  const float size = static_cast<float>(m) * 0x1p-24F;
  return sign ? -size : size;
}

std::uint16_t to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffff) > kInfinity) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

void to_q8_0(std::span<const float> values, std::byte *blocks) {
  HADAL_CHECK(values.size() % kBlock == 0, "{} values are no whole blocks", values.size());
  for (; !values.empty(); values = values.subspan(kBlock), blocks += kBlockBytes) {
    const auto block = values.first(kBlock);
    const float d = scale_of(block);
    // Below 2^-128 the reciprocal is infinite; the stored scale is 0 there, whatever the q are.
    const float reciprocal = d > 0x1p-127F ? 1.0F / d : 0.0F;
    const std::uint16_t half = to_f16(d);
    std::memcpy(blocks, &half, 2);
    for (std::size_t i = 0; i < kBlock; ++i) {
      const auto q = static_cast<std::int8_t>(std::round(block[i] * reciprocal));
      blocks[2 + i] = static_cast<std::byte>(q);
    }
  }
}

std::size_t bytes_of(Type type, std::size_t elements) {
  switch (type) {
  case Type::f32: return 4 * elements;
  case Type::f16:
  case Type::bf16: return 2 * elements;
  case Type::q8_0: return elements / kBlock * kBlockBytes;
  }
  return 0;
}

void encode(Type type, std::span<const float> values, std::byte *to) {
  switch (type) {
  case Type::f32:
    if (!values.empty()) std::memcpy(to, values.data(), values.size_bytes());
    return;
  case Type::f16: return each_half(values, to, to_f16);
  case Type::bf16: return each_half(values, to, to_bf16);
  case Type::q8_0: return to_q8_0(values, to);
  }
}

std::optional<float> unfit(Type type, std::span<const float> values) {
  const auto too_large = [](float x) { return std::fabs(x) >= std::bit_cast<float>(kF16Overflow); };
  if (type == Type::f16) {
    for (const float x : values)
      if (std::isfinite(x) && too_large(x)) return x;
  } else if (type == Type::q8_0) {
    for (const float x : values)
      if (!std::isfinite(x) || too_large(x / 127.0F)) return x;
  } else if (type == Type::bf16) {
    for (const float x : values)
      if (std::isfinite(x) && !std::isfinite(from_bf16(to_bf16(x)))) return x;
  }
  return std::nullopt;
}

} // namespace checkpoint::gguf

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
  const auto too_large = [](float x) {
    return std::fabs(x) >= std::bit_cast<float>(base::half::kF16Overflow);
  };
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

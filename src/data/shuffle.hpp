// SPDX-License-Identifier: Apache-2.0
#pragma once
// A shuffle without memory: a bijection of [0, size) by a balanced Feistel network whose round function is Philox. The network
// permutes the next even power of two; an image outside of [0, size) is sent through again until it falls inside ("cycle
// walking", fewer than four times on average), which keeps the bijection.
#include <bit>
#include <cstdint>

#include "base/error.hpp"
#include "base/random.hpp"

namespace data {

class Shuffle {
public:
  // stream: which shuffle it is under this seed.
  Shuffle(std::uint64_t size, std::uint64_t seed, std::uint64_t stream)
      : size_(size), seed_(seed), stream_(stream) {
    const int bits = size > 1 ? std::bit_width(size - 1) : 1;
    half_ = (bits + 1) / 2;
    mask_ = (std::uint64_t{1} << half_) - 1;
  }

  std::uint64_t size() const { return size_; }

  std::uint64_t operator()(std::uint64_t i) const {
    HADAL_CHECK(i < size_, "{} of {}", i, size_);
    do i = once(i);
    while (i >= size_);
    return i;
  }

private:
  static constexpr std::uint64_t kRounds = 6;

  std::uint64_t once(std::uint64_t i) const {
    std::uint64_t left = i >> half_, right = i & mask_;
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      const std::uint64_t f = base::random::bits(seed_, base::random::Purpose::sample_order,
                                                 stream_, round << 32 | right);
      const std::uint64_t next = left ^ (f & mask_);
      left = right;
      right = next;
    }
    return left << half_ | right;
  }

  std::uint64_t size_, seed_, stream_, mask_ = 0;
  int half_ = 1;
};

} // namespace data

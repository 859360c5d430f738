// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
// numbers: as easy as 1, 2, 3", SC'11). A number is a function of (seed, purpose, step, global
// index), never of rank, thread or call order, so that a run gives the same bits on any layout.
// Callable on host and device; no state.
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__) || defined(__HIPCC__)
#define HADAL_FUNCTION __host__ __device__ inline
#else
#define HADAL_FUNCTION inline
#endif

namespace base::random {

// What a number is drawn for. Values are part of the reproducibility contract: never renumber.
enum class Purpose : std::uint32_t {
  init = 1,          // index = flat element of the tensor, step = hash of the tensor's name
  sample_order = 2,  // index = sample, step = epoch
  source_choice = 3, // which source a sample comes from
  fim = 4,           // fill-in-the-middle decisions per document
  newline_split = 5, // splitting of combined punctuation + newline tokens
  generate = 6,      // sampling of tokens at inference
  test = 7
};

struct Block {
  std::uint32_t v[4];
};

// Ten rounds of Philox 4x32 on counter (step, index) under key (seed, purpose mixed into the high
// counter word).
HADAL_FUNCTION Block philox(std::uint64_t seed, Purpose purpose, std::uint64_t step,
                            std::uint64_t index) {
  std::uint32_t c0 = static_cast<std::uint32_t>(index),
                c1 = static_cast<std::uint32_t>(index >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(step);
  std::uint32_t c3 =
      static_cast<std::uint32_t>(step >> 32) ^ (static_cast<std::uint32_t>(purpose) * 0x85EBCA6BU);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ULL * c0, p1 = 0xCD9E8D57ULL * c2;
    const std::uint32_t hi0 = static_cast<std::uint32_t>(p0 >> 32),
                        lo0 = static_cast<std::uint32_t>(p0);
    const std::uint32_t hi1 = static_cast<std::uint32_t>(p1 >> 32),
                        lo1 = static_cast<std::uint32_t>(p1);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return Block{{c0, c1, c2, c3}};
}

HADAL_FUNCTION std::uint64_t bits(std::uint64_t seed, Purpose purpose, std::uint64_t step,
                                  std::uint64_t index) {
  const Block b = philox(seed, purpose, step, index);
  return (static_cast<std::uint64_t>(b.v[1]) << 32) | b.v[0];
}

// Uniform in [0, 1) with 53 random bits.
HADAL_FUNCTION double uniform(std::uint64_t seed, Purpose purpose, std::uint64_t step,
                              std::uint64_t index) {
  return static_cast<double>(bits(seed, purpose, step, index) >> 11) * 0x1.0p-53;
}

// Standard normal by Box-Muller on one block (double arithmetic).
HADAL_FUNCTION double normal(std::uint64_t seed, Purpose purpose, std::uint64_t step,
                             std::uint64_t index) {
  const Block b = philox(seed, purpose, step, index);
  const double u1 =
      (static_cast<double>((static_cast<std::uint64_t>(b.v[1]) << 32 | b.v[0]) >> 11) + 0.5) *
      0x1.0p-53;
  const double u2 =
      static_cast<double>((static_cast<std::uint64_t>(b.v[3]) << 32 | b.v[2]) >> 11) * 0x1.0p-53;
  return ::sqrt(-2.0 * ::log(u1)) * ::cos(6.283185307179586476925 * u2);
}

} // namespace base::random

// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include <fmt/format.h>

// GCC 12 takes the undefined operands of its own AVX-512 header for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
// The inlined body uses the widest vectors of this machine; the values are those of the library.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace base {

std::string Hash128::hex() const { return fmt::format("{:016x}{:016x}", high, low); }

Hash128 hash128(const void *bytes, std::size_t count) {
  const XXH128_hash_t hash = XXH3_128bits(bytes, count);
  return {hash.high64, hash.low64};
}

std::uint64_t hash64(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

} // namespace base

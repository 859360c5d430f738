// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include <new>

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

Digest128::Digest128() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(static_cast<XXH3_state_t *>(state_));
}
Digest128::~Digest128() { XXH3_freeState(static_cast<XXH3_state_t *>(state_)); }

void Digest128::add(const void *bytes, std::size_t count) {
  XXH3_128bits_update(static_cast<XXH3_state_t *>(state_), bytes, count);
}

Hash128 Digest128::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(static_cast<const XXH3_state_t *>(state_));
  return {hash.high64, hash.low64};
}

std::uint64_t hash64(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

} // namespace base

// SPDX-License-Identifier: Apache-2.0
#pragma once
// XXH3-128 of bytes (xxHash), as two words and as 32 hexadecimal digits.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace base {

struct Hash128 {
  std::uint64_t high = 0, low = 0;
  bool operator==(const Hash128 &) const = default;
  std::string hex() const; // high word first, lower case
};

Hash128 hash128(const void *bytes, std::size_t count);
inline Hash128 hash128(std::string_view text) { return hash128(text.data(), text.size()); }
std::uint64_t hash64(std::string_view text); // XXH3-64

// hash128 of bytes that come piece by piece.
class Digest128 {
public:
  Digest128();
  ~Digest128();
  Digest128(const Digest128 &) = delete;
  void add(const void *bytes, std::size_t count);
  Hash128 value() const; // of what was added so far

private:
  void *state_;
};

} // namespace base

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random decisions of evaluations: functions of (evaluate.seed, what, index), as everywhere (base/random.hpp). The number of the
// purpose is far from those of the other rooms and, like them, never changes.
#include "base/hash.hpp"
#include "base/random.hpp"

namespace eval {

inline constexpr auto kPurpose = static_cast<base::random::Purpose>(300);

inline std::uint64_t draw(std::uint64_t seed, std::string_view what, std::uint64_t index) {
  return base::random::bits(seed, kPurpose, base::hash64(what), index);
}

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Packing: items of known lengths into bins of one capacity, each item whole. Best fit among a bounded number of open bins, so
// that the time is linear in the items; the result depends on nothing but the order of the items.
#include <cstdint>
#include <span>
#include <vector>

namespace data {

// Bin b holds items[first[b]] to items[first[b + 1] - 1].
struct Bins {
  std::vector<std::int32_t> items;
  std::vector<std::int64_t> first{0};
  std::int64_t size() const { return static_cast<std::int64_t>(first.size()) - 1; }
  std::span<const std::int32_t> bin(std::int64_t b) const {
    const auto at = static_cast<std::size_t>(b);
    return std::span(items).subspan(static_cast<std::size_t>(first[at]),
                                    static_cast<std::size_t>(first[at + 1] - first[at]));
  }
};

// order: the items, as they come; lengths: of each of them by its number, at most capacity. together = false: one in each bin.
Bins pack(std::span<const std::int32_t> order, std::span<const std::int32_t> lengths,
          std::int64_t capacity, bool together);

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "data/bins.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace data {
namespace {

constexpr std::size_t kOpenBins = 64;

struct OpenBin {
  std::int64_t used = 0;
  std::vector<std::int32_t> items;
};

void close(Bins &bins, const OpenBin &bin) {
  bins.items.insert(bins.items.end(), bin.items.begin(), bin.items.end());
  bins.first.push_back(static_cast<std::int64_t>(bins.items.size()));
}

bool emptier(const OpenBin &a, const OpenBin &b) { return a.used < b.used; }

} // namespace

Bins pack(std::span<const std::int32_t> order, std::span<const std::int32_t> lengths,
          std::int64_t capacity, bool together) {
  Bins bins;
  std::vector<OpenBin> open; // the oldest first
  for (const std::int32_t item : order) {
    const std::int64_t length = lengths[static_cast<std::size_t>(item)];
    HADAL_CHECK(length >= 1 && length <= capacity, "an item of {} in bins of {}", length, capacity);
    auto best = open.end();
    for (auto bin = open.begin(); together && bin != open.end(); ++bin)
      if (bin->used + length <= capacity && (best == open.end() || bin->used > best->used))
        best = bin;
    if (best == open.end()) {
      if (open.size() == (together ? kOpenBins : 1)) { // the fullest makes room
        const auto fullest = std::max_element(open.begin(), open.end(), emptier);
        close(bins, *fullest);
        open.erase(fullest);
      }
      best = open.insert(open.end(), OpenBin());
    }
    best->used += length;
    best->items.push_back(item);
    if (best->used == capacity) {
      close(bins, *best);
      open.erase(best);
    }
  }
  for (const OpenBin &bin : open) close(bins, bin);
  return bins;
}

} // namespace data

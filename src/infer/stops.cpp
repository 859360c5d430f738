// SPDX-License-Identifier: Apache-2.0
#include "infer/stops.hpp"

#include <algorithm>

namespace infer {

namespace {

// Length of the longest end of `text` that is a beginning of `stop`, not all of it.
std::size_t begun(std::string_view text, std::string_view stop) {
  for (std::size_t n = std::min(text.size(), stop.size() - 1); n > 0; --n)
    if (text.substr(text.size() - n) == stop.substr(0, n)) return n;
  return 0;
}

} // namespace

std::string StopText::push(std::string_view bytes) {
  if (found_) return "";
  held_ += bytes;
  std::size_t end = std::string::npos, keep = 0;
  for (const std::string &stop : stops_) {
    end = std::min(end, held_.find(stop));
    keep = std::max(keep, begun(held_, stop));
  }
  found_ = end != std::string::npos;
  std::string shown = held_.substr(0, found_ ? end : held_.size() - keep);
  held_.erase(0, found_ ? held_.size() : shown.size());
  return shown;
}

std::string StopText::rest() {
  std::string rest;
  rest.swap(held_);
  return rest;
}

} // namespace infer

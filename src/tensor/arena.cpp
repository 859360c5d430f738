// SPDX-License-Identifier: Apache-2.0
#include "tensor/arena.hpp"

namespace tensor {

Arena::Arena(std::string label, std::size_t capacity_bytes)
    : label_(std::move(label)), capacity_(padded(capacity_bytes)),
      memory_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "tensor::arena::" + label_),
              capacity_) {}

Arena::Arena(std::string label, Arena &whole, std::size_t capacity_bytes)
    : label_(std::move(label)), capacity_(padded(capacity_bytes)),
      memory_(whole.vec<char>(static_cast<Index>(capacity_))) {}

Arena::Arena(std::string label, std::size_t capacity_bytes, bool)
    : label_(std::move(label)), capacity_(capacity_bytes) {}

Arena Arena::counting(std::string label) {
  return Arena(std::move(label), std::size_t{1} << 62, true);
}

void *Arena::take(Index elements, std::size_t element_bytes) {
  HADAL_CHECK(elements >= 0, "arena {}: {} elements asked for", label_, elements);
  const std::size_t bytes = padded(static_cast<std::size_t>(elements) * element_bytes);
  HADAL_CHECK(bytes <= capacity_ - used_, "arena {}: {} bytes asked for, {} of {} in use", label_,
              bytes, used_, capacity_);
  // A counting arena hands out addresses that nobody may follow.
  void *place = memory_.data() ? static_cast<void *>(memory_.data() + used_)
                               : reinterpret_cast<void *>(kAlignment + used_);
  used_ += bytes;
  if (used_ > high_water_) high_water_ = used_;
  return place;
}

} // namespace tensor

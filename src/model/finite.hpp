// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finds the first array, in the order of looking, that holds a value which is not finite.
#include <string>

#include "layers/types.hpp"

namespace model {

class FiniteScan {
public:
  explicit FiniteScan(tensor::Context &ctx) : ctx_(ctx) {}

  // Empty arrays (not kept) are passed over; after a find nothing more is looked at.
  template <class View> void look(const std::string &layer, const char *name, const View &values) {
    if (found() || values.size() == 0) return;
    const layers::Vec<const typename View::non_const_value_type> flat(values.data(), values.size());
    std::int64_t bad = 0;
    Kokkos::parallel_reduce(
        "model::finite_scan",
        Kokkos::RangePolicy<tensor::Exec>(ctx_.exec, 0, static_cast<long>(flat.extent(0))),
        KOKKOS_LAMBDA(const long i, std::int64_t &n) {
          const float v = static_cast<float>(flat(i));
          n += !(v - v == 0.0F);
        },
        bad);
    if (bad > 0)
      where_ = layer + ": " + name + " (" + std::to_string(bad) + " of " +
               std::to_string(flat.extent(0)) + " values)";
  }
  bool found() const { return !where_.empty(); }
  const std::string &where() const { return where_; }

private:
  tensor::Context &ctx_;
  std::string where_;
};

} // namespace model

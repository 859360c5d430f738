// SPDX-License-Identifier: Apache-2.0
#include "optim/balance.hpp"

#include <algorithm>
#include <numeric>

namespace optim {

using tensor::Index;

void move_bias(tensor::Context &ctx, double gamma, tensor::Vec<const std::int64_t> load_E,
               tensor::Vec<float> bias_E) {
  const Index experts = static_cast<Index>(bias_E.extent(0));
  const float u = static_cast<float>(gamma);
  tensor::for_each(
      ctx, "optim::move_bias", experts, KOKKOS_LAMBDA(const Index e) {
        std::int64_t total = 0;
        for (Index i = 0; i < experts; ++i) total += load_E(i);
        const std::int64_t excess =
            load_E(e) * experts - total; // sign of load - mean in whole numbers
        if (excess > 0) bias_E(e) -= u;
        if (excess < 0) bias_E(e) += u;
      });
}

double max_violation(const std::int64_t *load_E, Index experts) {
  const auto total = std::accumulate(load_E, load_E + experts, std::int64_t{0});
  if (total == 0) return 0;
  const double mean = static_cast<double>(total) / static_cast<double>(experts);
  return (static_cast<double>(*std::max_element(load_E, load_E + experts)) - mean) / mean;
}

} // namespace optim

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Exponential moving average of the weights, kept on the host (report p. 14):  average = beta * average + (1 - beta) * weight.
#include <cstdint>
#include <vector>

#include "tensor/launch.hpp"

namespace optim {

struct AverageOptions {
  double beta = 0.0;
  template <class R> void keys(R &r) {
    r.key(beta, "beta", 0.0, 0.0, 0.9999999, "",
          "decay of the weights' moving average, kept on the host; 0: none (the report keeps one, "
          "its decay is unpublished)");
  }
};

using HostFloats = Kokkos::View<float *, Kokkos::HostSpace>;
// weights: host copy of the master weights.
void update_average(double beta, Kokkos::View<const float *, Kokkos::HostSpace> weights,
                    HostFloats average);

} // namespace optim

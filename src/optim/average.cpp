// SPDX-License-Identifier: Apache-2.0
#include "optim/average.hpp"

namespace optim {

void update_average(double beta, Kokkos::View<const float *, Kokkos::HostSpace> weights,
                    HostFloats average) {
  const float keep = static_cast<float>(beta), take = static_cast<float>(1.0 - beta);
  Kokkos::parallel_for("optim::update_average",
                       Kokkos::RangePolicy<Kokkos::DefaultHostExecutionSpace>(
                           0, static_cast<long>(average.extent(0))),
                       [=](const long i) { average(i) = keep * average(i) + take * weights(i); });
}

} // namespace optim

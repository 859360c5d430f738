// SPDX-License-Identifier: Apache-2.0
#include "arch/dims.hpp"

#include <cmath>

namespace arch {

double Dims::softmax_scale() const {
  const double base = 1.0 / std::sqrt(static_cast<double>(head_dim()));
  if (!yarn.on()) return base;
  const double m = 0.1 * yarn.mscale_all_dim * std::log(yarn.factor) + 1.0;
  return base * m * m;
}

} // namespace arch

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Auxiliary-loss-free balancing (arXiv 2408.15664): after each step, from the load of the whole global batch,
//   bias_e += gamma * sign( mean load - load_e )
#include "tensor/launch.hpp"

namespace optim {

void move_bias(tensor::Context &ctx, double gamma, tensor::Vec<const std::int64_t> load_E,
               tensor::Vec<float> bias_E);
// (max load - mean load) / mean load; 0 when nothing was routed. load on the host.
double max_violation(const std::int64_t *load_E, tensor::Index experts);

} // namespace optim

// SPDX-License-Identifier: Apache-2.0
#pragma once
// `hadal bench router`: the gate and the movement of token copies, for the bench model and for the published sizes.
#include <string>

#include "tensor/context.hpp"

namespace layers::router {

// A text table. Gate: time beside its own matrix product, so that the arithmetic of the choice shows. Movement: bytes a second
// beside a large copy measured in the same process. Every figure is the best of `rounds`.
std::string bench(tensor::Context &ctx, int rounds = 9);

} // namespace layers::router

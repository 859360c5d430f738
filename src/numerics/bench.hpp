// SPDX-License-Identifier: Apache-2.0
#pragma once
// `hadal bench gemm`: the products of the bench model and of one expert of the 671B model, each form, in float and bf16, beside
// the peak of a large product measured just before and after in the same process.
#include <string>

#include "tensor/context.hpp"

namespace numerics {

// The table as text; every row is measured for about `seconds` (and at least three times).
std::string bench_gemm(tensor::Context &ctx, double seconds = 0.1);

} // namespace numerics

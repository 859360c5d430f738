// SPDX-License-Identifier: Apache-2.0
#pragma once
// Speed of attention beside the GEMM peak measured in the same process.
#include <string>

namespace layers::attention {

// A text table: for each shape and element type, forward and backward, time, GFLOP/s and share of the float GEMM peak (sums and
// products are FP32 whatever the element type). Operations: the causal half, the scores of the reverse pass made again included.
std::string bench();

} // namespace layers::attention

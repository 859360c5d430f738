// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal bench generate: tokens a second with random weights, of one sequence and of many at once. Reading a prompt and many sequences are
// held against the GEMM peak, one sequence against the bandwidth of a large copy, both measured in the same process.
#include <string>
#include <vector>

#include "arch/dims.hpp"

namespace infer {

struct GenerateBench {
  arch::Dims dims;
  arch::Index prompt = 512, tokens = 128;
  bool breakdown = true;
  std::vector<arch::Index> batches = {1, 4, 16, 64}; // sequences at once
};
// The text of the table, f32 and bf16; prints nothing.
std::string bench_generate(const GenerateBench &request);

} // namespace infer

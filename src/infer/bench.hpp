// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal bench generate: tokens a second of one sequence with random weights. Reading a prompt is held against the GEMM peak, generating
// against the bandwidth of a large copy, both measured in the same process.
#include <string>

#include "arch/dims.hpp"

namespace infer {

struct GenerateBench {
  arch::Dims dims;
  arch::Index prompt = 512, tokens = 128;
  bool breakdown = true;
};
// The text of the table, f32 and bf16; prints nothing.
std::string bench_generate(const GenerateBench &request);

} // namespace infer

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `hadal selftest` asks of this machine's arithmetic: the law of gemm.hpp, and bits that can be compared between machines.
#include <string>

#include "base/hash.hpp"
#include "tensor/context.hpp"

namespace numerics {

// Rows computed alone and in small groups, beside the same rows of a batch.
struct RowsReport {
  int compared = 0, differing = 0; // products
  std::string first;               // the first that differs
};
RowsReport check_rows(tensor::Context &ctx);

// All products in float and bf16 on fixed numbers, and normal random numbers (sqrt, log, cos of the host's library).
base::Hash128 hash_of_fixed_work(tensor::Context &ctx);

} // namespace numerics

// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gradient norm of a model whose gradients are spread over many ranks: blocks of 4096 elements of the global tensor are summed
// where they lie; blocks that are cut by a border (an expert's slice that is no multiple of 4096) are put together first. Every rank
// ends with the same number, that of one rank.
#include "optim/norm.hpp"
#include "train/exchange.hpp"

namespace train {

class GlobalNorm {
public:
  explicit GlobalNorm(const arch::Dims &dims); // lists the tensors once
  // Sum of squares over all trained tensors in registry order.
  double squares(tensor::Context &ctx, const Ranks &ranks, const Ownership &ownership,
                 const Exchange &exchange, optim::SquareSum &square_sum) const;

private:
  struct Extent {
    tensor::Index size;
    bool trained;
  };
  std::vector<Extent> tensors_;
};

} // namespace train

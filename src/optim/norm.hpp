// SPDX-License-Identifier: Apache-2.0
#pragma once
// Global gradient norm by the law of sums: squares in double over blocks of 4096 elements of the global tensor, blocks of a tensor
// in a balanced binary tree, tensors in registry order.
#include <vector>

#include "tensor/launch.hpp"

namespace optim {

inline constexpr tensor::Index kNormBlock = 4096;

// Balanced binary tree over values in order (the tree of the law of sums; also used for losses): pairs of neighbours are added
// until one is left; an odd last one moves up unchanged.
double tree_sum(std::vector<double> values);

// Sum of squares of one block of at most kNormBlock elements.
KOKKOS_FUNCTION double block_squares(const float *values, tensor::Index n);

// Holds the scratch for the largest tensor, allocated once.
class SquareSum {
public:
  explicit SquareSum(tensor::Index largest_tensor);
  // Sum of squares of one tensor.
  double operator()(tensor::Context &ctx, tensor::Vec<const float> tensor);
  // Of each of its blocks, in order.
  std::vector<double> blocks(tensor::Context &ctx, tensor::Vec<const float> tensor);

private:
  tensor::Vec<double> partial_;
  Kokkos::View<double *, Kokkos::HostSpace> host_;
};

} // namespace optim

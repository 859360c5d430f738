// SPDX-License-Identifier: Apache-2.0
#include "optim/norm.hpp"

#include "base/error.hpp"

namespace optim {

using tensor::Index;

double tree_sum(std::vector<double> values) {
  if (values.empty()) return 0;
  for (std::size_t n = values.size(); n > 1; n = (n + 1) / 2)
    for (std::size_t i = 0; i < (n + 1) / 2; ++i)
      values[i] = 2 * i + 1 < n ? values[2 * i] + values[2 * i + 1] : values[2 * i];
  return values[0];
}

// Sixteen lanes, folded in a tree: the same sum wherever it is computed.
KOKKOS_FUNCTION double block_squares(const float *values, Index n) {
  constexpr int lanes = 16;
  double lane[lanes] = {};
  Index i = 0;
  for (; i + lanes <= n; i += lanes)
    for (int j = 0; j < lanes; ++j) {
      const double v = values[i + j];
      lane[j] += v * v;
    }
  for (; i < n; ++i) {
    const double v = values[i];
    lane[i % lanes] += v * v;
  }
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int j = 0; j < width; ++j) lane[j] += lane[j + width];
  return lane[0];
}

SquareSum::SquareSum(Index largest_tensor)
    : partial_("optim::norm::partial", (largest_tensor + kNormBlock - 1) / kNormBlock),
      host_("optim::norm::host", partial_.extent(0)) {}

double SquareSum::operator()(tensor::Context &ctx, tensor::Vec<const float> values) {
  return tree_sum(blocks(ctx, values));
}

std::vector<double> SquareSum::blocks(tensor::Context &ctx, tensor::Vec<const float> values) {
  const Index n = static_cast<Index>(values.extent(0)), blocks = (n + kNormBlock - 1) / kNormBlock;
  HADAL_CHECK(blocks <= static_cast<Index>(partial_.extent(0)), "{} blocks, scratch for {}", blocks,
              partial_.extent(0));
  auto partial = partial_;
  ctx.count("optim::square_sum", 0, 4.0 * static_cast<double>(n));
  tensor::for_each(
      ctx, "optim::square_sum", blocks, KOKKOS_LAMBDA(const Index b) {
        const Index first = b * kNormBlock, last = first + kNormBlock < n ? first + kNormBlock : n;
        partial(b) = block_squares(values.data() + first, last - first);
      });
  Kokkos::deep_copy(ctx.exec, Kokkos::View<double *, Kokkos::HostSpace>(host_.data(), blocks),
                    tensor::Vec<double>(partial.data(), blocks));
  tensor::fence(ctx, "optim::square_sum"); // reason: the host folds the blocks
  return std::vector<double>(host_.data(), host_.data() + blocks);
}

} // namespace optim

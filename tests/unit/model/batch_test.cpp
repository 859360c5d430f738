// SPDX-License-Identifier: Apache-2.0
// Which rows of a sample have a target: the borders of segments and the marks of the tokens decide, in the main stream and at each depth.
#include "model/batch.hpp"

#include <gtest/gtest.h>

#include "tensor/arena.hpp"

namespace {

using model::HostSample;
using tensor::Index;

class Batch : public ::testing::Test {
protected:
  const std::vector<std::int32_t> tokens_{10, 11, 12, 13, 14, 15, 16}, segments_{0, 4};
  std::vector<std::int32_t> targets(const HostSample &sample, std::size_t depth) const {
    tensor::Arena arena("test", 1 << 16);
    tensor::Context ctx{tensor::Exec(), arena, {}, nullptr};
    model::BatchBuffers buffers(1, 6, 1);
    const model::MicroBatch batch = buffers.load(ctx, std::span(&sample, 1));
    const auto target = depth == 0 ? batch.main.target_T : batch.mtp[depth - 1].target_T;
    const auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, target);
    return {host.data(), host.data() + host.extent(0)};
  }
};

TEST_F(Batch, ATargetOfAnotherSegmentDoesNotCount) {
  const HostSample sample{tokens_, segments_};
  EXPECT_EQ(model::valid_targets(sample, 1), (std::vector<Index>{5, 3}));
  EXPECT_EQ(targets(sample, 0), (std::vector<std::int32_t>{11, 12, 13, -1, 15, 16}));
  EXPECT_EQ(targets(sample, 1), (std::vector<std::int32_t>{12, 13, -1, -1, 16}));
}

TEST_F(Batch, NorDoesOneThatIsNotTrained) {
  const std::vector<std::uint8_t> trained{1, 0, 1, 1, 1, 1, 0};
  const HostSample sample{tokens_, segments_, trained};
  EXPECT_EQ(model::valid_targets(sample, 1), (std::vector<Index>{3, 2}));
  EXPECT_EQ(targets(sample, 0), (std::vector<std::int32_t>{-1, 12, 13, -1, 15, -1}));
  EXPECT_EQ(targets(sample, 1), (std::vector<std::int32_t>{12, 13, -1, -1, -1}));
}

} // namespace

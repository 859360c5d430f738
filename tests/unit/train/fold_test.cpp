// SPDX-License-Identifier: Apache-2.0
// Several levels of the tree of shards in one pass: the bits of adding them level by level, and zeros behind it.
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "train/fold.hpp"

namespace {

using tensor::Index;
using tensor::Vec;

// Magnitudes far apart, so that every order of additions has bits of its own.
float value(int array, Index i) {
  const auto a = static_cast<std::uint64_t>(array), at = static_cast<std::uint64_t>(i);
  const auto bits = base::random::bits(7, base::random::Purpose::test, a, at);
  const float sign = bits & 1U ? -1.0F : 1.0F;
  return sign * std::ldexp(1.0F + static_cast<float>(bits >> 40) / 16777216.0F,
                           static_cast<int>((bits >> 1) % 24));
}

TEST(Fold, AddsLevelByLevelAndClears) {
  tensor::Arena arena("test", 1024);
  tensor::Context ctx{tensor::Exec(), arena};
  for (const Index n : {Index{1}, Index{4096}, Index{10001}})
    for (int levels = 1; levels <= 8; ++levels) {
      std::vector<Vec<float>> later;
      Vec<float> to("to", n);
      std::vector<float> expected(static_cast<std::size_t>(n));
      for (int k = 0; k <= levels; ++k) {
        Vec<float> v = k == levels ? to : later.emplace_back("later", n);
        const auto host = Kokkos::create_mirror_view(v);
        for (Index i = 0; i < n; ++i) {
          host(i) = value(k, i);
          float &sum = expected[static_cast<std::size_t>(i)];
          sum = k == 0 ? value(0, i) : value(k, i) + sum;
        }
        Kokkos::deep_copy(v, host);
      }
      train::fold_shards(ctx, later, to);
      ctx.exec.fence();
      const auto got = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, to);
      for (Index i = 0; i < n; ++i)
        ASSERT_EQ(got(i), expected[static_cast<std::size_t>(i)]) << levels << " levels, " << i;
      for (const auto &v : later) {
        const auto zeros = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, v);
        for (Index i = 0; i < n; ++i) ASSERT_EQ(zeros(i), 0.0F);
      }
    }
}

} // namespace

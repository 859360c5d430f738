// SPDX-License-Identifier: Apache-2.0
// The order of additions of train::Gradients against the law of sums written out: micro-batches in order within a shard, shards in
// a balanced binary tree, then the uses of embedding and head. Bit for bit, in float.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tests/support/arrays.hpp"
#include "train/gradients.hpp"

namespace {

using tensor::Index;

arch::Dims dims() {
  arch::Dims d;
  d.vocabulary = 19, d.model = 8, d.layers = 2, d.dense_layers = 1, d.dense_hidden = 8;
  d.heads = 2, d.q_rank = 4, d.kv_rank = 4, d.nope = 4, d.rope = 2, d.value = 4;
  d.experts = 4, d.expert_hidden = 4, d.chosen = 2, d.groups = 1, d.chosen_groups = 1,
  d.mtp_depth = 2;
  return d;
}

// What a micro-batch adds to element i of a place: magnitudes far apart, so that every order of additions has bits of its own.
float part(const int micro, const int place, const Index i) {
  const auto at = static_cast<std::uint64_t>(i);
  const double size = std::exp2(
      static_cast<double>(base::random::bits(1, base::random::Purpose::test, micro, at) % 24));
  return static_cast<float>(size * base::random::normal(static_cast<std::uint64_t>(place),
                                                        base::random::Purpose::test, micro, at));
}

// Places: 0 final_norm, 1 w_o of layer 1, 2 + use embedding, 5 + use head.
void add_micro_batch(const model::Grads &g, const int micro) {
  const auto add = [&](const auto &view, const int place) {
    auto values = tensor::Vec<float>(view.data(), view.size());
    auto host = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, values);
    for (std::size_t i = 0; i < host.size(); ++i)
      host(i) += part(micro, place, static_cast<Index>(i));
    Kokkos::deep_copy(values, host);
  };
  add(g.final_norm_D, 0), add(g.blocks[1].mla.w_o_DU, 1);
  for (int use = 0; use < 3; ++use) add(g.embedding_WD[use], 2 + use), add(g.head_WD[use], 5 + use);
}

// The law for one element of one place.
float by_the_law(const int micro_batches, const int shards, const int place, const Index i) {
  std::vector<float> sums;
  for (int shard = 0; shard < shards; ++shard) {
    float sum = 0;
    for (int m = 0; m < micro_batches; ++m)
      if (m * shards / micro_batches == shard) sum += part(m, place, i);
    sums.push_back(sum);
  }
  const std::function<float(int, int)> tree = [&](const int first, const int count) {
    return count == 1 ? sums[first] : tree(first, count / 2) + tree(first + count / 2, count / 2);
  };
  return tree(0, shards);
}

class GradientTree : public ::testing::TestWithParam<std::pair<int, int>> {};

TEST_P(GradientTree, FollowsTheLaw) {
  const auto [shards, micro_batches] = GetParam();
  const model::Layout layout(dims());
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  train::Gradients gradients(layout, shards);
  for (int step = 0; step < 2; ++step) { // the second step starts from zeros
    gradients.begin_step();
    for (int m = 0; m < micro_batches; ++m) {
      gradients.for_forward(ctx);
      add_micro_batch(gradients.for_backward(ctx), m);
      if (m + 1 == micro_batches || (m + 1) * shards / micro_batches != m * shards / micro_batches)
        gradients.close_forward(ctx), gradients.close_backward(ctx);
    }
    ctx.exec.fence();
  }
  const auto expect = [&](const std::string &name, const std::function<float(Index)> &law,
                          const Index use = 0) {
    const auto got = support::download(gradients.total(layout.at(name), use));
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      wrong += static_cast<float>(got[i]) != law(static_cast<Index>(i));
    EXPECT_EQ(wrong, 0U) << name;
  };
  const auto sum = [&](const int place, const Index i) {
    return by_the_law(micro_batches, shards, place, i);
  };
  expect("final_norm", [&](const Index i) { return sum(0, i); });
  expect("layers.1.mla.w_o", [&](const Index i) { return sum(1, i); });
  for (int use = 0; use < 3; ++use) {
    expect(
        "embedding", [&](const Index i) { return sum(2 + use, i); }, use);
    expect(
        "head", [&](const Index i) { return sum(5 + use, i); }, use);
  }
  expect("layers.0.ffn.w_up", [](Index) { return 0.0F; });
}
INSTANTIATE_TEST_SUITE_P(Shards, GradientTree,
                         ::testing::Values(std::pair(1, 1), std::pair(1, 6), std::pair(2, 6),
                                           std::pair(4, 4), std::pair(8, 8), std::pair(8, 24)));

TEST(Gradients, BuffersGrowWithTheLogarithm) {
  const model::Layout layout(dims());
  const train::Buckets buckets(layout, layout.share().parts.at(0));
  const auto one = buckets.bytes(1);
  EXPECT_EQ(one, static_cast<std::size_t>(layout.gradient_size()) * sizeof(float));
  EXPECT_EQ(buckets.bytes(2), 2 * one);
  EXPECT_EQ(buckets.bytes(8), 4 * one);
  EXPECT_EQ(buckets.bytes(64), 7 * one);
}

TEST(Gradients, AnUnfinishedTreeIsAFault) {
  const model::Layout layout(dims());
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  train::Gradients gradients(layout, 4);
  gradients.begin_step();
  const auto &slot = layout.at("final_norm");
  EXPECT_THROW(gradients.total(slot), base::Fault);
  for (int shard = 0; shard < 3; ++shard)
    gradients.for_backward(ctx), gradients.close_backward(ctx);
  EXPECT_THROW(gradients.total(slot), base::Fault);
  gradients.for_backward(ctx), gradients.close_backward(ctx);
  EXPECT_EQ(gradients.total(slot).extent(0), static_cast<std::size_t>(slot.size));
}

// Layers that are closed one by one while others are open give the same sums, and are told of in the order of the backward pass.
TEST(Gradients, BucketsAreWholeOneByOne) {
  const model::Layout layout(dims());
  tensor::Arena arena("test", 1 << 20);
  tensor::Context ctx{tensor::Exec(), arena};
  train::Gradients gradients(layout, 2);
  std::vector<std::size_t> told;
  gradients.when_whole([&](tensor::Context &, std::size_t bucket) { told.push_back(bucket); });
  gradients.begin_step();
  const auto &late = layout.at("layers.1.mla.w_o"), &early = layout.at("layers.0.ffn.w_up");
  for (int m = 0; m < 2; ++m) {
    gradients.for_forward(ctx), gradients.close_forward(ctx);
    EXPECT_EQ(told.size(), m == 0 ? 0U : 1U);
    const model::Grads &g = gradients.for_backward(ctx);
    add_micro_batch(g, m);
    const tensor::Vec<float> w_up(g.blocks[0].ffn.w_up_FD.data(), g.blocks[0].ffn.w_up_FD.size());
    for (const Index layer : {3, 2, 1}) gradients.close_layer(ctx, layer);
    EXPECT_EQ(told.size(), m == 0 ? 0U : 4U);
    if (m == 1) {
      EXPECT_EQ(gradients.total(late).extent(0), static_cast<std::size_t>(late.size));
      EXPECT_THROW(gradients.total(early), base::Fault);
    }
    Kokkos::deep_copy(w_up, 1.0F + static_cast<float>(m)); // still open
    gradients.close_layer(ctx, 0);
    gradients.close_backward(ctx);
  }
  EXPECT_EQ(told, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
  ctx.exec.fence();
  const auto got = support::download(gradients.total(late));
  for (Index i = 0; i < late.size; ++i)
    EXPECT_EQ(static_cast<float>(got[static_cast<std::size_t>(i)]), by_the_law(2, 2, 1, i));
  for (const double value : support::download(gradients.total(early))) EXPECT_EQ(value, 3.0);
}

// Every trained tensor, and every use of embedding and head, lies in one bucket; tensors of a bucket do not overlap.
TEST(Gradients, BucketsHoldEveryTensorOnce) {
  const model::Layout layout(dims());
  const train::Buckets buckets(layout, layout.share().parts.at(0));
  ASSERT_EQ(buckets.count(), 6U); // head, two MTP modules, two layers, the rest
  std::map<std::pair<std::size_t, bool>, Index> filled;
  for (const model::Slot &slot : layout.slots())
    for (Index use = 0; use < layout.uses(); ++use) {
      const auto &place = buckets.place(slot, use);
      const bool table = slot.spec.name == "embedding" || slot.spec.name == "head";
      EXPECT_EQ(place.here, use == 0 || table) << slot.spec.name;
      if (!place.here) continue;
      const std::size_t expected = slot.spec.layer >= 0
                                       ? 4 - static_cast<std::size_t>(slot.spec.layer)
                                   : slot.spec.name == "head" ? 0
                                                              : 5;
      EXPECT_EQ(place.bucket, expected) << slot.spec.name;
      Index &end = filled[{place.bucket, place.experts}];
      EXPECT_GE(place.offset, end);
      end = place.offset + slot.size;
    }
  for (std::size_t b = 0; b < buckets.count(); ++b) {
    EXPECT_LE((filled[{b, false}]), buckets.size(b).dense);
    EXPECT_LE((filled[{b, true}]), buckets.size(b).experts);
  }
}

} // namespace

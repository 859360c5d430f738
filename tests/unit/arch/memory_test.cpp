// SPDX-License-Identifier: Apache-2.0
// The table of saved activations against sums by hand. That the layers really take these bytes is a test of model.
#include <gtest/gtest.h>

#include <set>

#include "arch/memory.hpp"
#include "arch/registry.hpp"

namespace {

using arch::Dims;
using arch::Field;
using arch::Index;
using arch::Recompute;
using arch::Rows;

constexpr Recompute kNone{
    .norms = false, .up_projections = false, .swiglu = false, .arrivals = false};
constexpr Recompute kAll{.norms = true, .up_projections = true, .swiglu = true, .arrivals = true};

Index bytes(const std::vector<Field> &fields, bool kept) {
  Index sum = 0;
  for (const Field &field : fields) sum += field.kept == kept ? field.bytes() : 0;
  return sum;
}

TEST(Memory, DenseLayerOfV3ByHand) {
  const Dims d;
  const Index T = 4096, H = 128;
  const auto fields = arch::saved_fields(d, 0, Rows{1, T}, kNone, 2);
  const Index numbers = 3 * 7168 + 2 * 1536 + 2 * 512 + 64 + H * (192 + 256 + 128) + 3 * 18432;
  EXPECT_EQ(bytes(fields, true), T * (2 * numbers + 4 * (4 + H))); // four r and lse in FP32
  EXPECT_EQ(bytes(fields, false), 0);
}

TEST(Memory, MixtureLayerOfV3WithTheReportsRecomputation) {
  const Dims d;
  const Index T = 4096, K = 8;
  const auto fields = arch::saved_fields(d, 3, Rows{1, T}, kAll, 2);
  const Index kept = 7168 + 1536 + 512 + 64 + 128 * 128 + 2 * 2048 * (K + 1);
  const Index floats =
      4 + 128 + 7168 + 256 + 4 * K; // r, lse, router: x, scores, expert, weight, token, arrival
  EXPECT_EQ(bytes(fields, true), T * (2 * kept + 4 * floats) + 4 * 256 + 8 * 257);
  const Index again = 2 * 7168 + 1536 + 512 + 128 * (192 + 256) + K * 7168 + 2048 * (K + 1);
  EXPECT_EQ(bytes(fields, false), T * 2 * again);
}

TEST(Memory, RecomputationMovesFieldsAndLosesNone) {
  Dims d;
  d.q_rank = 0;
  for (const Index layer : {Index{0}, Index{60}}) {
    const auto none = arch::saved_fields(d, layer, Rows{2, 512}, kNone, 4);
    const auto all = arch::saved_fields(d, layer, Rows{2, 512}, kAll, 4);
    ASSERT_EQ(none.size(), all.size());
    std::set<std::string> names;
    for (std::size_t i = 0; i < none.size(); ++i) {
      EXPECT_EQ(none[i].name, all[i].name);
      EXPECT_EQ(none[i].shape, all[i].shape);
      EXPECT_TRUE(none[i].kept);
      EXPECT_TRUE(names.insert(none[i].name).second);
      EXPECT_EQ(none[i].name.find("cq"), std::string::npos); // no query latent here
    }
    EXPECT_EQ(arch::kept_bytes(none), arch::kept_bytes(all) + arch::recomputed_bytes(all));
    EXPECT_LT(arch::kept_bytes(all), arch::kept_bytes(none));
  }
}

TEST(Memory, WholeModelIsItsParts) {
  Dims d;
  const Rows rows{2, 1024};
  Index blocks = 0;
  for (Index i = 0; i < 61; ++i) {
    blocks += arch::kept_bytes(arch::saved_fields(d, i, rows, kAll, 2));
  }
  const Index stream = 2 * 1024 * 7168 * 2; // already a multiple of 256
  const Index rest = 62 * stream + 2 * stream + 3 * 2 * 1024 * 4 + 1024; // 58 x 2 doubles take 1024
  EXPECT_EQ(arch::saved_bytes(d, rows, kAll, 2), blocks + rest);
  d.mtp_depth = 1;
  const Rows narrow{2, 1023};
  const auto up = [](Index n) { return (n + 255) / 256 * 256; };
  const Index U = 2 * 1023;
  const Index module = arch::kept_bytes(arch::saved_fields(d, 61, narrow, kAll, 2)) +
                       6 * up(U * 7168 * 2) + up(U * 2 * 7168 * 2) + 5 * up(U * 4);
  EXPECT_EQ(arch::saved_bytes(d, rows, kAll, 2), blocks + rest + module);
  EXPECT_EQ(arch::largest_block_scratch(d, rows, kNone, 2),
            arch::kept_bytes(arch::delta_fields(d, 3, rows, 2)));
  EXPECT_GT(arch::largest_block_scratch(d, rows, kAll, 2),
            arch::largest_block_scratch(d, rows, kNone, 2));
}

TEST(Memory, ArenaRoundsUp) {
  EXPECT_EQ((Field{"x", {3, 5}, 4}).bytes(), 60);
  EXPECT_EQ((Field{"x", {3, 5}, 4}).arena_bytes(), 256);
  EXPECT_EQ((Field{"x", {64}, 4}).arena_bytes(), 256);
  EXPECT_EQ((Field{"x", {65}, 4}).arena_bytes(), 512);
}

TEST(Memory, FlatBuffers) {
  Dims d;
  d.vocabulary = 101, d.model = 7, d.layers = 2, d.dense_layers = 1, d.dense_hidden = 5,
  d.heads = 1, d.q_rank = 0;
  d.kv_rank = 3, d.nope = 2, d.rope = 2, d.value = 3, d.experts = 4, d.groups = 1,
  d.chosen_groups = 1, d.chosen = 2;
  d.expert_hidden = 3, d.shared = 0;
  Index elements = 0;
  for (const auto &spec : arch::registry(d)) {
    EXPECT_GT(spec.size(), 0);
    elements += (spec.size() + 63) / 64 * 64;
  }
  EXPECT_EQ(arch::parameter_elements(d), elements);
  EXPECT_EQ(arch::gradient_elements(d), elements);
  d.mtp_depth = 2;
  EXPECT_EQ(arch::gradient_elements(d) - arch::parameter_elements(d),
            2 * 2 * 768); // 101 x 7 = 707 -> 768
}

TEST(Memory, PlanOfARun) {
  Dims d;
  d.layers = 4;
  const arch::RunShape f32{.micro_batch = {1, 128}, .recompute = kNone};
  const Index n = arch::parameter_elements(d);
  const arch::MemoryPlan plan = arch::plan_memory(d, f32);
  EXPECT_EQ(plan.total(), 16 * n + arch::saved_bytes(d, {1, 128}, kNone, 4) +
                              arch::largest_block_scratch(d, {1, 128}, kNone, 4));
  arch::RunShape mixed = f32;
  mixed.activation_bytes = 2, mixed.moment_bytes = 2, mixed.average_bytes = 4, mixed.shards = 8;
  const arch::MemoryPlan lean = arch::plan_memory(d, mixed);
  EXPECT_EQ(lean.compute_copies, 2 * n);
  EXPECT_EQ(lean.gradients, 4 * 4 * n); // 8 shards: four buffers
  EXPECT_EQ(lean.moments, 4 * n);
  EXPECT_EQ(lean.average, 4 * n);
  EXPECT_LT(lean.saved, plan.saved);
}

} // namespace

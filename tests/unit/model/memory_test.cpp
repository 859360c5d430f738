// SPDX-License-Identifier: Apache-2.0
// The tables of arch/memory.hpp against what blocks really take from an arena, for variants of the model and all
// recomputation policies; the flat buffers against model::Layout.
#include <gtest/gtest.h>

#include "arch/memory.hpp"
#include "layers/router/router.hpp"
#include "model/block.hpp"

namespace {

using arch::Dims;
using arch::Index;
using arch::Recompute;
using arch::Rows;
using layers::bf16;

Dims small() {
  Dims d;
  d.vocabulary = 97, d.model = 24, d.layers = 3, d.dense_layers = 1, d.dense_hidden = 40;
  d.heads = 3, d.q_rank = 10, d.kv_rank = 12, d.nope = 6, d.rope = 4, d.value = 5;
  d.experts = 8, d.expert_hidden = 7, d.chosen = 3, d.groups = 4, d.chosen_groups = 2, d.shared = 2;
  d.mtp_depth = 1;
  return d;
}

template <class A> void expect_equal(const Dims &d, const Recompute &recompute) {
  const layers::rope::Table rope = layers::rope::make_table(d, 33);
  model::Stream stream;
  stream.samples = 2, stream.rows = 33;
  for (Index layer = 0; layer < d.layers + d.mtp_depth; ++layer) {
    const model::BlockEnv env{d, recompute, rope, layer};
    tensor::Arena saved = tensor::Arena::counting("saved"),
                  deltas = tensor::Arena::counting("deltas");
    model::block::allocate<A>(saved, env, stream);
    model::block::allocate_deltas<A>(deltas, env, stream);
    const Rows rows{2, 33};
    const auto saved_table = arch::saved_fields(d, layer, rows, recompute, sizeof(A));
    const auto delta_table = arch::delta_fields(d, layer, rows, sizeof(A));
    EXPECT_EQ(static_cast<Index>(saved.used()), arch::kept_bytes(saved_table)) << "layer " << layer;
    EXPECT_EQ(static_cast<Index>(deltas.used()), arch::kept_bytes(delta_table))
        << "layer " << layer;
  }
}

TEST(Memory, BlocksTakeWhatTheTablesSay) {
  std::vector<Dims> variants(4, small());
  variants[1].q_rank = 0;
  variants[2].shared = 0;
  variants[3].groups = 1, variants[3].chosen_groups = 1, variants[3].dense_layers = 3;
  for (const Dims &d : variants) {
    for (int policy = 0; policy < 16; ++policy) {
      const Recompute recompute{(policy & 1) != 0, (policy & 2) != 0, (policy & 4) != 0,
                                (policy & 8) != 0};
      expect_equal<float>(d, recompute);
      expect_equal<bf16>(d, recompute);
    }
  }
}

TEST(Memory, MtpModulesTakeWhatTheTablesSay) {
  const Dims d = small();
  tensor::Arena saved = tensor::Arena::counting("saved"),
                deltas = tensor::Arena::counting("deltas");
  layers::mtp::allocate<bf16>(saved, d, 66);
  layers::mtp::allocate_deltas<bf16>(deltas, d, 66);
  EXPECT_EQ(static_cast<Index>(saved.used()),
            arch::kept_bytes(arch::mtp_saved_fields(d, Rows{2, 33}, 2)));
  EXPECT_EQ(static_cast<Index>(deltas.used()),
            arch::kept_bytes(arch::mtp_delta_fields(d, Rows{2, 33}, 2)));
}

TEST(Memory, FlatBuffersAreAsLongAsTheTablesSay) {
  for (Index depth = 0; depth <= 2; ++depth) {
    Dims d = small();
    d.mtp_depth = depth;
    if (depth == 1) d.head = arch::Head::reward;
    const model::Layout layout(d);
    EXPECT_EQ(layout.size(), arch::parameter_elements(d));
    EXPECT_EQ(layout.gradient_size(), arch::gradient_elements(d));
  }
}

TEST(Memory, ConstantsAreTheSame) {
  EXPECT_EQ(arch::kArenaAlignment, static_cast<Index>(tensor::Arena::kAlignment));
  EXPECT_EQ(arch::kMostExperts, layers::router::kMaxExperts);
  EXPECT_EQ(arch::kMostChosen, layers::router::kMaxChosen);
}

} // namespace

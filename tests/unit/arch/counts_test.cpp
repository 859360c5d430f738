// SPDX-License-Identifier: Apache-2.0
// The published numbers, and closed formulas on random variants.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "arch/counts.hpp"
#include "arch/options.hpp"
#include "arch/registry.hpp"
#include "arch/report.hpp"

namespace {

using arch::Attention;
using arch::Dims;
using arch::Index;

Dims v3() {
  Dims d;
  d.mtp_depth = 1;
  return d;
}

Dims bench(Index mtp_depth) {
  Dims d;
  d.vocabulary = 8192, d.model = 512, d.layers = 8, d.dense_layers = 1, d.dense_hidden = 1408;
  d.heads = 8, d.q_rank = 256, d.kv_rank = 128, d.nope = 64, d.rope = 32, d.value = 64;
  d.experts = 32, d.expert_hidden = 352, d.chosen = 4, d.groups = 4, d.chosen_groups = 2,
  d.shared = 1;
  d.mtp_depth = mtp_depth;
  return d;
}

TEST(Counts, V3Parameters) {
  const arch::Counts counts = arch::count_parameters(v3());
  EXPECT_EQ(counts.main, 671026419200);
  EXPECT_EQ(counts.mtp, 11610068224);
  EXPECT_EQ(counts.activated, 37552297472);
  EXPECT_EQ(counts.activated_without_embedding, 36625618432);
  EXPECT_EQ(counts.mtp_activated, 2541458688);
  EXPECT_EQ(counts.in_files, 684489845504);
  EXPECT_EQ(arch::active_matrix_weights(v3()), 36624596992);
}

TEST(Counts, V3RoomsAddUp) {
  const arch::Counts counts = arch::count_parameters(v3());
  Index main = 0, mtp = 0;
  for (const auto &room : counts.rooms) {
    main += room.main;
    mtp += room.mtp;
    if (room.room == "mla") {
      EXPECT_EQ(room.main, 61LL * 187107328);
      EXPECT_EQ(room.mtp, 187107328);
    } else if (room.room == "ffn") {
      EXPECT_EQ(room.main, 3LL * 396361728);
    } else if (room.room == "experts") {
      EXPECT_EQ(room.main, 58 * 256 * 44040192LL);
      EXPECT_EQ(room.main_active, 58 * 8 * 44040192LL);
    } else if (room.room == "router") {
      EXPECT_EQ(room.main, 58 * 1835264);
    }
  }
  EXPECT_EQ(main, counts.main);
  EXPECT_EQ(mtp, counts.mtp);
}

TEST(Counts, V3Flops) {
  const arch::Flops causal = arch::flops_per_token(v3(), 4096, Attention::causal);
  EXPECT_EQ(causal.main, 250449887232);
  EXPECT_EQ(causal.total(), 260641652736);
  const arch::Flops full = arch::flops_per_token(v3(), 4096, Attention::full);
  EXPECT_EQ(full.main, 281152192512);
  Index parts = 0;
  for (const auto &part : causal.parts) parts += part.flops;
  EXPECT_EQ(parts, causal.total());
}

TEST(Counts, V3Cache) { EXPECT_EQ(arch::cache_bytes_per_token(v3(), 2), 70272); }

TEST(Counts, BenchDeckHas142Million) {
  const Index own = arch::count_parameters(bench(0)).main;
  EXPECT_EQ((own + 50000) / 100000, 1420) << own;
}

TEST(Counts, StateBytes) {
  const Dims d = v3();
  const arch::Counts counts = arch::count_parameters(d);
  const Index all = counts.main + counts.mtp, biases = 59 * 256;
  const arch::StateBytes bytes = arch::state_bytes(d, {.moment = 2, .compute = 2, .average = 4});
  EXPECT_EQ(bytes.masters, 4 * all);
  EXPECT_EQ(bytes.gradients, 4 * (all - biases));
  EXPECT_EQ(bytes.moments, 4 * (all - biases));
  EXPECT_EQ(bytes.averages, 4 * all);
  const Index norms = 62 * 16384 + 7168 + 3 * 7168, routers = 59 * 256 * 7168;
  EXPECT_EQ(bytes.compute_copies, 2 * (all - biases - norms - routers));
  EXPECT_EQ(arch::state_bytes(d, {}).compute_copies, 0);
}

// A random variant of everything that the decks can vary.
Dims variant(std::mt19937_64 &random) {
  const auto pick = [&](Index low, Index high) {
    return std::uniform_int_distribution<Index>(low, high)(random);
  };
  Dims d;
  d.vocabulary = pick(2, 5000), d.model = pick(1, 300), d.layers = pick(1, 9),
  d.dense_layers = pick(0, d.layers);
  d.dense_hidden = pick(1, 700), d.heads = pick(1, 9), d.q_rank = pick(0, 1) * pick(1, 90),
  d.kv_rank = pick(1, 90);
  d.nope = pick(1, 40), d.rope = 2 * pick(1, 20), d.value = pick(1, 40);
  d.groups = pick(1, 5), d.experts = d.groups * pick(2, 7), d.chosen_groups = pick(1, d.groups);
  d.chosen = pick(1, d.chosen_groups * (d.experts / d.groups));
  d.expert_hidden = pick(1, 200), d.shared = pick(0, 3), d.mtp_depth = pick(0, 2);
  d.router_bias = pick(0, 1) == 1;
  return d;
}

// Parameters by hand, layer by layer (facts of the architecture, not of the registry).
Index layer_parameters(const Dims &d, bool dense) {
  const Index D = d.model, qk = d.heads * (d.nope + d.rope);
  Index n = 2 * D;
  n += d.q_rank > 0 ? D * d.q_rank + d.q_rank + d.q_rank * qk : D * qk;
  n += D * (d.kv_rank + d.rope) + d.kv_rank + d.kv_rank * d.heads * (d.nope + d.value) +
       d.heads * d.value * D;
  if (dense) return n + 3 * D * d.dense_hidden;
  return n + d.experts * D + (d.router_bias ? d.experts : 0) +
         (d.experts + d.shared) * 3 * D * d.expert_hidden;
}

TEST(Counts, RandomVariantsFollowTheClosedFormula) {
  std::mt19937_64 random(20241227);
  for (int trial = 0; trial < 300; ++trial) {
    const Dims d = variant(random);
    const arch::Counts counts = arch::count_parameters(d);
    const Index main = 2 * d.vocabulary * d.model + d.model +
                       d.dense_layers * layer_parameters(d, true) +
                       (d.layers - d.dense_layers) * layer_parameters(d, false);
    const Index mtp =
        d.mtp_depth * (layer_parameters(d, false) + 2 * d.model * d.model + 3 * d.model);
    EXPECT_EQ(counts.main, main);
    EXPECT_EQ(counts.mtp, mtp);
    const Index idle =
        (d.layers - d.dense_layers) * (d.experts - d.chosen) * 3 * d.model * d.expert_hidden;
    EXPECT_EQ(counts.activated, main - idle);
    // norms and biases weigh nothing in the estimate that guards against overflow
    EXPECT_NEAR(arch::estimated_parameters(d) / static_cast<double>(main + mtp), 1.0, 0.5);
    EXPECT_LE(arch::estimated_parameters(d), static_cast<double>(main + mtp));
  }
}

TEST(Counts, RandomVariantsFlops) {
  std::mt19937_64 random(7);
  for (int trial = 0; trial < 100; ++trial) {
    const Dims d = variant(random);
    const Index T = 2 * std::uniform_int_distribution<Index>(1, 500)(random);
    const arch::Flops causal = arch::flops_per_token(d, T, Attention::causal);
    const arch::Flops full = arch::flops_per_token(d, T, Attention::full);
    const Index core = 6 * d.heads * (d.nope + d.rope + d.value) * T;
    EXPECT_EQ(full.main - d.layers * core, 6 * arch::active_matrix_weights(d));
    EXPECT_EQ(full.main - causal.main, d.layers * core / 2);
    Dims without = d;
    without.mtp_depth = 0;
    EXPECT_EQ(arch::flops_per_token(without, T, Attention::full).total(), full.main);
    EXPECT_EQ(full.mtp > 0, d.mtp_depth > 0);
  }
}

TEST(Registry, NamesAreUniqueAndInOrder) {
  std::mt19937_64 random(99);
  for (int trial = 0; trial < 100; ++trial) {
    const Dims d = variant(random);
    std::set<std::string> names, hf_names;
    const auto list = arch::registry(d);
    for (const arch::TensorSpec &spec : list) {
      EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
      EXPECT_TRUE(hf_names.insert(spec.hf_name).second) << spec.hf_name;
      EXPECT_EQ(spec.hf_name.find("{e}") != std::string::npos,
                spec.sharding == arch::Sharding::experts)
          << spec.name;
      EXPECT_LT(spec.layer, d.layers + d.mtp_depth);
      if (spec.sharding == arch::Sharding::experts) {
        EXPECT_EQ(spec.shape.at(0), d.experts);
      }
    }
    EXPECT_EQ(list.front().name, "embedding");
  }
}

const arch::TensorSpec &find(const std::vector<arch::TensorSpec> &list, const std::string &name) {
  for (const auto &spec : list) {
    if (spec.name == name) return spec;
  }
  throw std::runtime_error("no tensor " + name);
}

TEST(Registry, V3TensorsAsInThePublishedFiles) {
  const auto list = arch::registry(v3());
  const auto expect = [&](const char *name, std::vector<Index> shape, const char *hf) {
    const arch::TensorSpec &spec = find(list, name);
    EXPECT_EQ(spec.shape, shape) << name;
    EXPECT_EQ(spec.hf_name, hf) << name;
  };
  expect("embedding", {129280, 7168}, "model.embed_tokens.weight");
  expect("final_norm", {7168}, "model.norm.weight");
  expect("head", {129280, 7168}, "lm_head.weight");
  expect("layers.0.mla.w_dq", {1536, 7168}, "model.layers.0.self_attn.q_a_proj.weight");
  expect("layers.0.mla.w_uq", {24576, 1536}, "model.layers.0.self_attn.q_b_proj.weight");
  expect("layers.0.mla.w_dkv", {576, 7168}, "model.layers.0.self_attn.kv_a_proj_with_mqa.weight");
  expect("layers.0.mla.w_ukv", {32768, 512}, "model.layers.0.self_attn.kv_b_proj.weight");
  expect("layers.0.mla.w_o", {7168, 16384}, "model.layers.0.self_attn.o_proj.weight");
  expect("layers.2.ffn.w_down", {7168, 18432}, "model.layers.2.mlp.down_proj.weight");
  expect("layers.3.router.w", {256, 7168}, "model.layers.3.mlp.gate.weight");
  expect("layers.3.router.bias", {256}, "model.layers.3.mlp.gate.e_score_correction_bias");
  expect("layers.60.experts.w_up", {256, 2048, 7168},
         "model.layers.60.mlp.experts.{e}.up_proj.weight");
  expect("layers.60.shared.w_gate", {2048, 7168},
         "model.layers.60.mlp.shared_experts.gate_proj.weight");
  expect("layers.61.mtp.w_proj", {7168, 14336}, "model.layers.61.eh_proj.weight");
  expect("layers.61.mtp.embedding_norm", {7168}, "model.layers.61.enorm.weight");
  expect("layers.61.mtp.head_norm", {7168}, "model.layers.61.shared_head.norm.weight");
  expect("layers.61.experts.w_gate", {256, 2048, 7168},
         "model.layers.61.mlp.experts.{e}.gate_proj.weight");
}

TEST(Registry, DecayInitAndTraining) {
  for (const arch::TensorSpec &spec : arch::registry(v3())) {
    const bool vector = spec.shape.size() == 1;
    EXPECT_EQ(spec.decay, !vector) << spec.name; // weight decay on matrices only
    EXPECT_EQ(spec.init == arch::Init::one, spec.kind == arch::Kind::norm) << spec.name;
    EXPECT_EQ(spec.trained(), spec.room != "router" || !vector) << spec.name;
    EXPECT_EQ(spec.init == arch::Init::normal, !vector) << spec.name;
  }
}

TEST(Registry, VariantsWithoutTheOptionalTensors) {
  Dims d = bench(0);
  d.q_rank = 0, d.shared = 0, d.router_bias = false;
  for (const arch::TensorSpec &spec : arch::registry(d)) {
    EXPECT_EQ(spec.name.find("w_dq"), std::string::npos);
    EXPECT_EQ(spec.name.find("shared"), std::string::npos);
    EXPECT_EQ(spec.name.find("bias"), std::string::npos);
  }
  EXPECT_EQ(find(arch::registry(d), "layers.7.mla.w_q").shape, (std::vector<Index>{8 * 96, 512}));
}

TEST(Dims, SoftmaxScale) {
  Dims d;
  EXPECT_NEAR(d.softmax_scale(), 0.0721688, 5e-8);
  d.yarn.factor = 40.0;
  EXPECT_NEAR(d.softmax_scale(), 0.1352338, 5e-8);
  d.yarn.mscale_all_dim = 0.707;
  EXPECT_NEAR(d.softmax_scale() / 0.0721687836, 1.589626, 1e-6);
}

TEST(Report, HoldsThePublishedNumbers) {
  const std::string text = arch::count_report(v3(), {.title = "v3", .sequence = 4096});
  for (const char *number :
       {"671,026,419,200", "11,610,068,224", "36,625,618,432", "250,449,887,232", "260,641,652,736",
        "281,152,192,512", "70,272", "684,489,845,504"}) {
    EXPECT_NE(text.find(number), std::string::npos) << number << "\n" << text;
  }
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
// A model of 2 GB is imported with little memory: tensors stream from a memory map to the checkpoint.
#include <gtest/gtest.h>

#include <fstream>

#include <sys/resource.h>

#include <fmt/format.h>

#include "checkpoint/safetensors.hpp"
#include "tests/support/process.hpp"

namespace {

namespace st = checkpoint::safetensors;

constexpr std::int64_t D = 2048, V = 16384, H = 8, Q = 512, C = 256, N = 64, R = 32, Vd = 64,
                       E = 16, F = 1024, L = 5, kDense = 4096;

struct Model {
  std::vector<st::Entry> entries;
  void add(const std::string &name, std::vector<std::int64_t> shape) {
    st::Entry entry;
    entry.name = name, entry.shape = std::move(shape), entry.dtype = st::Dtype::f32;
    entries.push_back(entry);
  }
  void ffn(const std::string &prefix, std::int64_t hidden) {
    add(prefix + "gate_proj.weight", {hidden, D});
    add(prefix + "up_proj.weight", {hidden, D});
    add(prefix + "down_proj.weight", {D, hidden});
  }
  void layer(std::int64_t i) {
    const std::string p = fmt::format("model.layers.{}.", i), a = p + "self_attn.";
    add(p + "input_layernorm.weight", {D});
    add(p + "post_attention_layernorm.weight", {D});
    add(a + "q_a_proj.weight", {Q, D});
    add(a + "q_a_layernorm.weight", {Q});
    add(a + "q_b_proj.weight", {H * (N + R), Q});
    add(a + "kv_a_proj_with_mqa.weight", {C + R, D});
    add(a + "kv_a_layernorm.weight", {C});
    add(a + "kv_b_proj.weight", {H * (N + Vd), C});
    add(a + "o_proj.weight", {D, H * Vd});
    if (i == 0) return ffn(p + "mlp.", kDense);
    add(p + "mlp.gate.weight", {E, D});
    add(p + "mlp.gate.e_score_correction_bias", {E});
    for (std::int64_t e = 0; e < E; ++e) ffn(fmt::format("{}mlp.experts.{}.", p, e), F);
    ffn(p + "mlp.shared_experts.", F);
  }
};

const char *kConfig = R"({"model_type": "deepseek_v3", "vocab_size": 16384, "hidden_size": 2048,
  "num_hidden_layers": 5, "first_k_dense_replace": 1, "intermediate_size": 4096,
  "moe_intermediate_size": 1024, "n_routed_experts": 16, "num_experts_per_tok": 4,
  "n_shared_experts": 1, "n_group": 4, "topk_group": 2, "scoring_func": "sigmoid",
  "topk_method": "noaux_tc", "norm_topk_prob": true, "routed_scaling_factor": 2.5,
  "num_attention_heads": 8, "num_key_value_heads": 8, "q_lora_rank": 512, "kv_lora_rank": 256,
  "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "rms_norm_eps": 1e-6,
  "rope_theta": 10000.0, "max_position_embeddings": 4096})";

// The tensors' bytes are a hole in the file: zeros that take no room on the disk.
std::uint64_t make_directory(const std::string &folder) {
  Model model;
  model.add("model.embed_tokens.weight", {V, D});
  for (std::int64_t i = 0; i < L; ++i) model.layer(i);
  model.add("model.norm.weight", {D});
  model.add("lm_head.weight", {V, D});
  const std::string head = st::make_header(model.entries, {{"format", "pt"}});
  std::filesystem::create_directories(folder);
  support::write_text(folder + "/config.json", kConfig);
  support::write_text(folder + "/model.safetensors", head);
  const std::uint64_t bytes = model.entries.back().end;
  std::filesystem::resize_file(folder + "/model.safetensors", head.size() + bytes);
  return bytes;
}

TEST(Memory, ImportNeedsThreeTimesTheLargestTensorAtMost) {
  const support::Scratch scratch;
  const std::uint64_t bytes = make_directory(scratch / "hf");
  ASSERT_GE(bytes, 2'000'000'000U);
  constexpr std::int64_t kLargest = V * D * 4; // of one foreign tensor: the embedding
  const auto outcome = support::run(
      {support::hadal(), "convert", "from-hf", scratch / "hf", "--out", scratch / "in"});
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage); // the largest resident set of the children: the importer
  const std::int64_t peak = usage.ru_maxrss * 1024;
  fmt::print("{} bytes imported, peak resident set {} bytes (pages of mapped files included)\n",
             bytes, peak);
  EXPECT_LT(peak, 3 * kLargest + 200'000'000);
  EXPECT_LT(peak, 300'000'000); // what is seen: 70 MB
}

} // namespace

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "convert/gguf_keys.hpp"
#include "convert/gguf_rules.hpp"

namespace convert {
namespace {

using arch::Index;
using checkpoint::gguf::KeyValues;

constexpr std::uint32_t kSoftmax = 1, kSigmoid = 2; // expert_gating_func

std::uint32_t file_type(GgufType type) {
  switch (type) {
  case GgufType::f32: return 0;
  case GgufType::f16: return 1;
  case GgufType::q8_0: return 7;
  case GgufType::bf16: return 32;
  }
  return 0;
}

// Keys below "deepseek2.".
class Deepseek2 {
public:
  explicit Deepseek2(KeyValues &keys) : keys_(keys) {}
  void whole(const char *key, Index value) {
    keys_.add(full(key), static_cast<std::uint32_t>(value));
  }
  void real(const char *key, double value) { keys_.add(full(key), static_cast<float>(value)); }
  void flag(const char *key, bool value) { keys_.add(full(key), value); }
  void text(const char *key, const char *value) { keys_.add(full(key), value); }

private:
  static std::string full(const char *key) { return std::string("deepseek2.") + key; }
  KeyValues &keys_;
};

void add_attention(const arch::Dims &d, Deepseek2 &keys) {
  keys.whole("attention.head_count", d.heads);
  keys.whole("attention.head_count_kv", 1); // all heads read one latent
  keys.real("attention.layer_norm_rms_epsilon", d.norm_eps);
  // Asked for except of models taken for V2-Lite; 0 says that queries are not compressed.
  if (d.q_rank > 0 || !taken_for_lite(d)) keys.whole("attention.q_lora_rank", d.q_rank);
  keys.whole("attention.kv_lora_rank", d.kv_rank);
  keys.whole("attention.key_length", d.kv_rank + d.rope);
  keys.whole("attention.value_length", d.kv_rank);
  keys.whole("attention.key_length_mla", d.head_dim());
  keys.whole("attention.value_length_mla", d.value);
}

void add_rope(const arch::Dims &d, Deepseek2 &keys) {
  keys.whole("rope.dimension_count", d.rope);
  keys.real("rope.freq_base", d.rope_theta);
  if (!d.yarn.on()) return;
  keys.text("rope.scaling.type", "yarn");
  keys.real("rope.scaling.factor", d.yarn.factor);
  keys.whole("rope.scaling.original_context_length", d.yarn.original);
  keys.real("rope.scaling.yarn_log_multiplier", 0.1 * d.yarn.mscale_all_dim);
  keys.real("rope.scaling.yarn_beta_fast", d.yarn.beta_fast);
  keys.real("rope.scaling.yarn_beta_slow", d.yarn.beta_slow);
}

void add_experts(const arch::Dims &d, Deepseek2 &keys) {
  keys.whole("leading_dense_block_count", d.dense_layers);
  // The loader asks for these two of dense models too.
  keys.whole("expert_feed_forward_length", d.expert_hidden);
  keys.whole("expert_shared_count", d.shared);
  if (!d.moe()) return;
  keys.whole("expert_count", d.experts);
  keys.whole("expert_used_count", d.chosen);
  if (limits_groups(d)) {
    keys.whole("expert_group_count", d.groups);
    keys.whole("expert_group_used_count", d.chosen_groups);
  }
  keys.real("expert_weights_scale", d.route_scale);
  keys.flag("expert_weights_norm", d.normalise);
  keys.whole("expert_gating_func", d.score == arch::Score::softmax ? kSoftmax : kSigmoid);
}

} // namespace

void add_model_keys(const arch::Dims &d, std::int64_t max_positions, const std::string &name,
                    GgufType type, KeyValues &keys) {
  keys.add("general.architecture", "deepseek2");
  keys.add("general.type", "model");
  keys.add("general.name", name);
  keys.add("general.file_type", file_type(type));
  if (type == GgufType::q8_0) keys.add("general.quantization_version", std::uint32_t{2});
  Deepseek2 model(keys);
  model.whole("block_count", d.layers);
  model.whole("context_length",
              std::min<std::int64_t>(max_positions, std::numeric_limits<std::int32_t>::max()));
  model.whole("embedding_length", d.model);
  model.whole("feed_forward_length", d.dense_hidden);
  model.whole("vocab_size", d.vocabulary);
  add_attention(d, model);
  add_rope(d, model);
  add_experts(d, model);
}

} // namespace convert

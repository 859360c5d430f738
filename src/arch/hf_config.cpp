// SPDX-License-Identifier: Apache-2.0
#include "arch/hf_config.hpp"

#include <cmath>
#include <set>

#include <fmt/format.h>

#include "arch/fingerprint.hpp"
#include "arch/json_reader.hpp"
#include "arch/options.hpp"
#include "base/error.hpp"

namespace arch {
namespace {

constexpr Index kWidth = 1 << 17, kHidden = 1 << 18, kRank = 1 << 16; // as the deck's ranges

// The key of the file that a contradiction found in Dims is about.
std::string hf_key(const Contradiction &found) {
  if (found.key == "rope_dim") return "qk_rope_head_dim";
  if (found.key == "dense_layers") return "first_k_dense_replace";
  if (found.key == "groups") return "n_group";
  if (found.key == "chosen_groups") return "topk_group";
  if (found.key == "chosen") return "num_experts_per_tok";
  if (found.key == "group_score") return "topk_method";
  if (found.key == "beta_fast") return "rope_scaling";
  return "hidden_size";
}

void refuse_what_we_do_not_have(const JsonReader &r, const Dims &d) {
  if (r.word_or("hidden_act", "silu") != "silu")
    r.fail("hidden_act", "E055", "only silu (SwiGLU networks).");
  if (r.boolean_or("tie_word_embeddings", false))
    r.fail("tie_word_embeddings", "E055", "embedding and head are two tensors here.");
  if (r.boolean_or("attention_bias", false))
    r.fail("attention_bias", "E055", "no projection has a bias.");
  if (r.boolean_or("mlp_bias", false)) r.fail("mlp_bias", "E055", "no projection has a bias.");
  if (r.real_or("attention_dropout", 0.0, 0.0, 1.0) != 0.0)
    r.fail("attention_dropout", "E055", "there is no dropout; 0.");
  if (r.integer_or("moe_layer_freq", 1, 1, 1024) != 1) {
    r.fail("moe_layer_freq", "E055", "after the leading dense layers every layer has experts; 1.");
  }
  if (r.integer_or("num_key_value_heads", d.heads, 1, 4096) != d.heads) {
    r.fail("num_key_value_heads", "E055",
           fmt::format("latent attention has as many as num_attention_heads, {}.", d.heads));
  }
  if (d.norm_eps != 1e-6) {
    r.fail("rms_norm_eps", "E055",
           "public code uses 1e-6 in the norms of the latents whatever stands here; with another "
           "value the norms would differ; 1e-06.");
  }
  if (!r.boolean_or("rope_interleave", true)) {
    r.fail("rope_interleave", "E055",
           "rotated pairs are neighbours (2i, 2i+1), as in the published weights; true.");
  }
}

void read_router(const JsonReader &r, bool v3, Dims &d) {
  d.experts = r.integer("n_routed_experts", 1, kMostExperts);
  d.chosen = r.integer("num_experts_per_tok", 1, kMostChosen);
  d.expert_hidden = r.integer("moe_intermediate_size", 1, kHidden);
  d.shared = r.integer_or("n_shared_experts", 0, 0, 64);
  d.normalise = r.boolean("norm_topk_prob");
  d.route_scale = r.real("routed_scaling_factor", 1e-6, 1e6);
  const std::string score = r.word_or("scoring_func", v3 ? "sigmoid" : "softmax");
  if (score != "sigmoid" && score != "softmax")
    r.fail("scoring_func", "E055", "sigmoid or softmax.");
  d.score = score == "sigmoid" ? Score::sigmoid : Score::softmax;
  const std::string method = r.word_or("topk_method", v3 ? "noaux_tc" : "greedy");
  if (method != "noaux_tc" && method != "group_limited_greedy" && method != "greedy") {
    r.fail("topk_method", "E055", "noaux_tc, group_limited_greedy or greedy.");
  }
  d.router_bias = method == "noaux_tc";
  d.group_score = method == "noaux_tc" ? GroupScore::top2_sum : GroupScore::maximum;
  d.groups = method == "greedy" ? 1 : r.integer("n_group", 1, kMostExperts);
  d.chosen_groups = method == "greedy" ? 1 : r.integer("topk_group", 1, kMostExperts);
  if (!v3 && d.normalise && d.route_scale != 1.0) {
    r.fail("norm_topk_prob", "E055",
           "versions of the V2 model code differ on whether normalised weights are scaled; set "
           "routed_scaling_factor to 1 "
           "or norm_topk_prob to false.");
  }
}

// FP8 as DeepSeek publishes it is the one quantization that is understood.
void refuse_other_quantization(const JsonReader &r) {
  if (!r.has("quantization_config")) return;
  const JsonReader q = r.object("quantization_config");
  if (q.word("quant_method") != "fp8")
    q.fail("quant_method", "E055", "fp8, with one scale for each block of 128 x 128.");
  if (q.word_or("fmt", "e4m3") != "e4m3") q.fail("fmt", "E055", "e4m3.");
  if (!q.has("weight_block_size") ||
      q.members().at("weight_block_size") != nlohmann::json::array({128, 128}))
    q.fail("weight_block_size", "E055", "[128, 128].");
}

struct Rope {
  double theta = 0.0; // 0: not told here
  Yarn yarn;
  bool operator==(const Rope &o) const {
    return yarn.factor == o.yarn.factor && yarn.original == o.yarn.original &&
           yarn.beta_fast == o.yarn.beta_fast && yarn.beta_slow == o.yarn.beta_slow &&
           yarn.mscale == o.yarn.mscale && yarn.mscale_all_dim == o.yarn.mscale_all_dim;
  }
};

// The old form (rope_scaling, "type") and the new one (rope_parameters, "rope_type", with the base inside).
Rope read_rope(const JsonReader &r, const std::string &key) {
  static const std::set<std::string> known = {
      "type",      "rope_type", "rope_theta", "factor",        "original_max_position_embeddings",
      "beta_fast", "beta_slow", "mscale",     "mscale_all_dim"};
  const JsonReader s = r.object(key);
  for (const auto &[name, value] : s.members().items()) {
    if (!known.contains(name) && !value.is_null())
      s.fail(name, "E055", "this rotary setting is not known here.");
  }
  Rope rope;
  rope.theta = s.real_or("rope_theta", 0.0, 1.0, 1e12);
  const std::string type = s.has("rope_type") ? s.word("rope_type") : s.word("type");
  if (s.has("type") && s.word("type") != type)
    s.fail("type", "E056", fmt::format("rope_type says {}.", type));
  if (type == "default") return rope;
  if (type != "yarn") s.fail(s.has("rope_type") ? "rope_type" : "type", "E055", "yarn or default.");
  rope.yarn.factor = s.real("factor", 1.0, 4096.0);
  rope.yarn.original = s.integer("original_max_position_embeddings", 1, 1 << 24);
  rope.yarn.beta_fast = s.real_or("beta_fast", 32.0, 1e-3, 1e6);
  rope.yarn.beta_slow = s.real_or("beta_slow", 1.0, 1e-3, 1e6);
  // Readers of these files disagree on the defaults of the two, so they must be told.
  rope.yarn.mscale = s.real("mscale", 0.0, 100.0);
  rope.yarn.mscale_all_dim = s.real("mscale_all_dim", 0.0, 100.0);
  return rope;
}

void read_rotation(const JsonReader &r, Dims &d) {
  const bool old_form = r.has("rope_scaling"), new_form = r.has("rope_parameters");
  Rope rope;
  if (old_form) rope = read_rope(r, "rope_scaling");
  if (new_form) {
    const Rope parameters = read_rope(r, "rope_parameters");
    if (old_form && !(parameters == rope))
      r.fail("rope_parameters", "E056", "rope_scaling says something else; remove one.");
    rope = parameters;
  }
  d.yarn = rope.yarn;
  d.rope_theta = rope.theta != 0.0 ? rope.theta : r.real("rope_theta", 1.0, 1e12);
  if (r.has("rope_theta") && r.real("rope_theta", 1.0, 1e12) != d.rope_theta) {
    r.fail("rope_theta", "E056",
           fmt::format("the rotary settings say {}; remove one.", d.rope_theta));
  }
}

void read_attention(const JsonReader &r, Dims &d) {
  d.heads = r.integer("num_attention_heads", 1, 4096);
  if (!r.members().contains("q_lora_rank"))
    r.fail("q_lora_rank", "E052", "this key is needed; null: queries are not compressed.");
  d.q_rank = r.integer_or("q_lora_rank", 0, 0, kRank);
  d.kv_rank = r.integer("kv_lora_rank", 1, kRank);
  d.nope = r.integer("qk_nope_head_dim", 1, 1024);
  d.rope = r.integer("qk_rope_head_dim", 2, 1024);
  d.value = r.integer("v_head_dim", 1, 1024);
}

} // namespace

Dims dims_from_hf_config(std::string_view text, const std::string &where) {
  return read_hf_config(text, where).dims;
}

HfConfig read_hf_config(std::string_view text, const std::string &where) {
  const nlohmann::json document = JsonReader::parse(text, where);
  const JsonReader r(document, text, where);
  const std::string type = r.word("model_type");
  if (type != "deepseek_v3" && type != "deepseek_v2")
    r.fail("model_type", "E051", "deepseek_v3 or deepseek_v2.");

  HfConfig config;
  Dims &d = config.dims;
  d.vocabulary = r.integer("vocab_size", 2, 1 << 24);
  d.model = r.integer("hidden_size", 1, kWidth);
  d.layers = r.integer("num_hidden_layers", 1, 1024);
  d.dense_layers = r.integer("first_k_dense_replace", 0, 1024);
  d.dense_hidden = r.integer("intermediate_size", 1, kHidden);
  d.norm_eps = r.real("rms_norm_eps", 1e-12, 1e-2);
  d.init_std = r.real_or("initializer_range", d.init_std, 0.0, 1.0);
  d.mtp_depth = r.integer_or("num_nextn_predict_layers", 0, 0, 2);
  // Not a public key: written by this program where a model differs from what other engines take for granted.
  config.tells_mtp_hidden = r.has("hadal_mtp_hidden");
  const std::string hidden = r.word_or("hadal_mtp_hidden", "post_norm");
  if (hidden != "post_norm" && hidden != "pre_norm")
    r.fail("hadal_mtp_hidden", "E055", "post_norm or pre_norm.");
  d.mtp_hidden = hidden == "pre_norm" ? MtpHidden::pre_norm : MtpHidden::post_norm;
  read_attention(r, d);
  read_router(r, type == "deepseek_v3", d);
  read_rotation(r, d);
  refuse_what_we_do_not_have(r, d);
  if (const auto found = contradiction(d))
    r.fail(hf_key(*found), found->number.c_str(), found->advice);
  refuse_other_quantization(r);
  config.max_positions = r.integer_or("max_position_embeddings", 4096, 1, Index{1} << 40);
  // The sequence-wise balance loss; seq_aux = false would be another loss, which cannot be compared.
  if (r.has("aux_loss_alpha") && r.boolean_or("seq_aux", true))
    config.training.emplace_back("balance.alpha",
                                 fingerprint_text(r.real("aux_loss_alpha", 0.0, 1e6)));
  return config;
}

} // namespace arch

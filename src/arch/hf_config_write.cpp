// SPDX-License-Identifier: Apache-2.0
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "arch/hf_config.hpp"
#include "base/error.hpp"

namespace arch {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void cannot_say(const std::string &key, const std::string &advice) {
  throw base::UserError(base::Exit::checkpoint, "E145", "the model",
                        key + " cannot be said in a Hugging Face config.json", advice);
}

void refuse_what_no_config_says(const Dims &d) {
  if (d.norm_eps != 1e-6)
    cannot_say(fmt::format("model.norm_eps = {}", d.norm_eps),
               "Public code uses 1e-6 in the norms of the latents whatever the file says.");
  if (d.score == Score::sigmoid && d.groups > 1 && d.group_score == GroupScore::maximum)
    cannot_say("score = \"sigmoid\" with group_score = \"maximum\"",
               "deepseek_v3 ranks groups by their two best experts.");
  if (d.score == Score::softmax && d.groups > 1 && d.group_score == GroupScore::top2_sum)
    cannot_say("score = \"softmax\" with group_score = \"top2_sum\"",
               "deepseek_v2 ranks groups by their best expert.");
  if (d.score == Score::softmax && d.router_bias)
    cannot_say("score = \"softmax\" with a router bias", "deepseek_v2 has none.");
  if (d.score == Score::softmax && d.normalise && d.route_scale != 1.0)
    cannot_say("score = \"softmax\" with normalise and scale",
               "Versions of the V2 code differ on whether normalised weights are scaled.");
  if (d.score == Score::sigmoid && d.experts / d.groups < 2)
    cannot_say("groups of one expert", "deepseek_v3 adds the two best experts of a group.");
}

void write_router(const Dims &d, Json &j) {
  const bool v3 = d.score == Score::sigmoid;
  j["n_routed_experts"] = d.experts;
  j["num_experts_per_tok"] = d.chosen;
  j["moe_intermediate_size"] = d.expert_hidden;
  j["moe_layer_freq"] = 1;
  j["n_shared_experts"] = d.shared;
  j["n_group"] = d.groups;
  j["topk_group"] = d.chosen_groups;
  j["norm_topk_prob"] = d.normalise;
  j["routed_scaling_factor"] = d.route_scale;
  j["scoring_func"] = v3 ? "sigmoid" : "softmax";
  j["topk_method"] = v3 ? "noaux_tc" : d.groups > 1 ? "group_limited_greedy" : "greedy";
}

void write_rotation(const Dims &d, Json &j) {
  j["rope_theta"] = d.rope_theta;
  j["rope_interleave"] = true;
  if (!d.yarn.on()) {
    j["rope_scaling"] = nullptr;
    j["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", d.rope_theta}};
    return;
  }
  Json yarn;
  yarn["factor"] = d.yarn.factor;
  yarn["original_max_position_embeddings"] = d.yarn.original;
  yarn["beta_fast"] = d.yarn.beta_fast;
  yarn["beta_slow"] = d.yarn.beta_slow;
  yarn["mscale"] = d.yarn.mscale;
  yarn["mscale_all_dim"] = d.yarn.mscale_all_dim;
  j["rope_scaling"] = yarn;
  j["rope_scaling"]["type"] = "yarn";
  j["rope_parameters"] = yarn;
  j["rope_parameters"]["rope_type"] = "yarn";
  j["rope_parameters"]["rope_theta"] = d.rope_theta;
}

void write_attention(const Dims &d, Json &j) {
  j["num_attention_heads"] = d.heads;
  j["num_key_value_heads"] = d.heads;
  j["q_lora_rank"] = d.q_rank > 0 ? Json(d.q_rank) : Json(nullptr);
  j["kv_lora_rank"] = d.kv_rank;
  j["qk_nope_head_dim"] = d.nope;
  j["qk_rope_head_dim"] = d.rope;
  j["v_head_dim"] = d.value;
  j["attention_bias"] = false;
  j["attention_dropout"] = 0.0;
}

// Keys of the imported file that this writer does not know stay; those that would speak of other files or another writer go.
void keep_other_keys(const std::string &original, Json &j) {
  static const std::set<std::string> dropped = {"auto_map", "quantization_config", "dtype",
                                                "_name_or_path", "transformers_version"};
  const Json old = Json::parse(original, nullptr, false);
  if (!old.is_object()) return;
  for (const auto &[key, value] : old.items())
    if (!j.contains(key) && !dropped.contains(key)) j[key] = value;
}

} // namespace

std::string write_hf_config(const Dims &d, const HfWriting &how) {
  refuse_what_no_config_says(d);
  const bool v3 = d.score == Score::sigmoid;
  Json j;
  j["architectures"] = {v3 ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"};
  j["model_type"] = v3 ? "deepseek_v3" : "deepseek_v2";
  j["vocab_size"] = d.vocabulary;
  j["hidden_size"] = d.model;
  j["num_hidden_layers"] = d.layers;
  j["num_nextn_predict_layers"] = d.mtp_depth;
  if (d.mtp_depth > 0 && d.mtp_hidden == MtpHidden::pre_norm) j["hadal_mtp_hidden"] = "pre_norm";
  j["first_k_dense_replace"] = d.dense_layers;
  j["intermediate_size"] = d.dense_hidden;
  write_attention(d, j);
  write_router(d, j);
  j["rms_norm_eps"] = d.norm_eps;
  j["initializer_range"] = d.init_std;
  write_rotation(d, j);
  j["max_position_embeddings"] = how.max_positions;
  j["hidden_act"] = "silu";
  j["mlp_bias"] = false;
  j["tie_word_embeddings"] = false;
  if (how.bos >= 0) j["bos_token_id"] = how.bos;
  if (how.eos >= 0) j["eos_token_id"] = how.eos;
  j["torch_dtype"] = how.dtype;
  if (how.fp8)
    j["quantization_config"] = {{"quant_method", "fp8"},
                                {"fmt", "e4m3"},
                                {"activation_scheme", "dynamic"},
                                {"weight_block_size", {128, 128}}};
  if (!how.original.empty()) keep_other_keys(how.original, j);
  return j.dump(2) + "\n";
}

} // namespace arch

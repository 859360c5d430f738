// SPDX-License-Identifier: Apache-2.0
#include "arch/registry.hpp"

#include <fmt/format.h>

#include "arch/options.hpp"
#include "base/error.hpp"

namespace arch {
namespace {

// Appends tensors of one layer (or of none) to the list.
class Lister {
public:
  Lister(const Dims &dims, std::vector<TensorSpec> &list) : d_(dims), list_(list) {}

  void outside(const std::string &name, std::vector<Index> shape, Kind kind,
               const std::string &room, const std::string &hf, const std::string &gguf) {
    layer_ = -1;
    add(name, std::move(shape), kind, room, hf, gguf);
  }

  // The order of use in the forward pass: projection of an MTP module, attention, feed-forward, the module's head norm.
  void layer(Index i) {
    layer_ = i;
    const Index D = d_.model;
    const bool mtp = i >= d_.layers;
    if (mtp) {
      add("mtp.embedding_norm", {D}, Kind::norm, "mtp", "enorm", "");
      add("mtp.hidden_norm", {D}, Kind::norm, "mtp", "hnorm", "");
      add("mtp.w_proj", {D, 2 * D}, Kind::matrix, "mtp", "eh_proj", "");
    }
    add("attention_norm", {D}, Kind::norm, "norm", "input_layernorm", "attn_norm");
    attention();
    add("ffn_norm", {D}, Kind::norm, "norm", "post_attention_layernorm", "ffn_norm");
    if (d_.is_dense(i)) {
      ffn("ffn", "ffn", "mlp", "", d_.dense_hidden);
    } else {
      mixture();
    }
    if (mtp) add("mtp.head_norm", {D}, Kind::norm, "mtp", "shared_head.norm", "");
  }

private:
  void attention() {
    const Index D = d_.model, H = d_.heads, Q = d_.q_rank, C = d_.kv_rank;
    const Index head = d_.head_dim();
    if (Q > 0) {
      add("mla.w_dq", {Q, D}, Kind::matrix, "mla", "self_attn.q_a_proj", "attn_q_a");
      add("mla.q_norm", {Q}, Kind::norm, "mla", "self_attn.q_a_layernorm", "attn_q_a_norm");
      add("mla.w_uq", {H * head, Q}, Kind::matrix, "mla", "self_attn.q_b_proj", "attn_q_b");
    } else {
      add("mla.w_q", {H * head, D}, Kind::matrix, "mla", "self_attn.q_proj", "attn_q");
    }
    add("mla.w_dkv", {C + d_.rope, D}, Kind::matrix, "mla", "self_attn.kv_a_proj_with_mqa",
        "attn_kv_a_mqa");
    add("mla.kv_norm", {C}, Kind::norm, "mla", "self_attn.kv_a_layernorm", "attn_kv_a_norm");
    add("mla.w_ukv", {H * (d_.nope + d_.value), C}, Kind::matrix, "mla", "self_attn.kv_b_proj",
        "attn_{kv}_b");
    add("mla.w_o", {D, H * d_.value}, Kind::matrix, "mla", "self_attn.o_proj", "attn_output");
  }

  // gguf: suffix of the names there.
  void ffn(const std::string &name, const std::string &room, const std::string &hf,
           const std::string &gguf, Index hidden) {
    const Index D = d_.model;
    add(name + ".w_gate", {hidden, D}, Kind::matrix, room, hf + ".gate_proj", "ffn_gate" + gguf);
    add(name + ".w_up", {hidden, D}, Kind::matrix, room, hf + ".up_proj", "ffn_up" + gguf);
    add(name + ".w_down", {D, hidden}, Kind::matrix, room, hf + ".down_proj", "ffn_down" + gguf);
  }

  void mixture() {
    const Index D = d_.model, E = d_.experts, F = d_.expert_hidden;
    add("router.w", {E, D}, Kind::router, "router", "mlp.gate", "ffn_gate_inp");
    if (d_.router_bias)
      add("router.bias", {E}, Kind::bias, "router", "mlp.gate.e_score_correction_bias",
          "exp_probs_b");
    add("experts.w_gate", {E, F, D}, Kind::matrix, "experts", "mlp.experts.{e}.gate_proj",
        "ffn_gate_exps");
    add("experts.w_up", {E, F, D}, Kind::matrix, "experts", "mlp.experts.{e}.up_proj",
        "ffn_up_exps");
    add("experts.w_down", {E, D, F}, Kind::matrix, "experts", "mlp.experts.{e}.down_proj",
        "ffn_down_exps");
    if (d_.shared > 0) ffn("shared", "shared", "mlp.shared_experts", "_shexp", d_.shared * F);
  }

  void add(const std::string &name, std::vector<Index> shape, Kind kind, const std::string &room,
           const std::string &hf, const std::string &gguf) {
    TensorSpec spec;
    spec.name = layer_ < 0 ? name : fmt::format("layers.{}.{}", layer_, name);
    spec.shape = std::move(shape);
    spec.kind = kind;
    spec.init = kind == Kind::norm ? Init::one : kind == Kind::bias ? Init::zero : Init::normal;
    spec.sharding = room == "experts" ? Sharding::experts : Sharding::replicated;
    spec.decay = kind == Kind::matrix || kind == Kind::router;
    spec.layer = layer_;
    spec.room = room;
    const std::string suffix = kind == Kind::bias ? "" : ".weight";
    spec.hf_fp8 = room == "mla" || room == "ffn" || room == "experts" || room == "shared";
    spec.hf_fp8 = spec.hf_fp8 && kind == Kind::matrix;
    spec.hf_name = layer_ < 0 ? hf + suffix : fmt::format("model.layers.{}.", layer_) + hf + suffix;
    const std::string ending = kind == Kind::bias ? ".bias" : ".weight";
    if (!gguf.empty() && layer_ < d_.layers)
      spec.gguf_name =
          layer_ < 0 ? gguf + ending : fmt::format("blk.{}.{}{}", layer_, gguf, ending);
    list_.push_back(std::move(spec));
  }

  const Dims &d_;
  std::vector<TensorSpec> &list_;
  Index layer_ = -1;
};

} // namespace

Index TensorSpec::size() const {
  Index elements = 1;
  for (const Index extent : shape) elements *= extent;
  return elements;
}

std::vector<TensorSpec> registry(const Dims &dims) {
  const auto found = contradiction(dims);
  HADAL_CHECK(!found, "dims contradict each other: {}.{}: {}", found->table, found->key,
              found->advice);
  const Index W = dims.vocabulary, D = dims.model;
  std::vector<TensorSpec> list;
  Lister lister(dims, list);
  lister.outside("embedding", {W, D}, Kind::matrix, "embedding", "model.embed_tokens",
                 "token_embd");
  for (Index i = 0; i < dims.layers; ++i) lister.layer(i);
  lister.outside("final_norm", {D}, Kind::norm, "norm", "model.norm", "output_norm");
  lister.outside("head", {W, D}, Kind::matrix, "head", "lm_head", "output");
  if (dims.head == Head::reward) { // treated like a norm, but for its first values
    lister.outside("reward_head", {1, D}, Kind::norm, "head", "score", "");
    list.back().init = Init::normal;
  }
  for (Index k = 0; k < dims.mtp_depth; ++k) lister.layer(dims.layers + k);
  return list;
}

} // namespace arch

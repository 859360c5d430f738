// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tensor registry: every tensor of the model once, with all that checkpoint, optimiser, converter, planner and
// initialiser need. The order of the list is the registry order of the law of sums and of the state hash.
//
// Names (i = layer, MTP modules are layers L, L+1, ...):
//   embedding [W,D]   final_norm [D]   head [W,D]   reward_head [1,D] (model.head = "reward"; FP32, not decayed)
//   layers.i.attention_norm [D]        layers.i.ffn_norm [D]
//   layers.i.mla.w_dq [Q,D]            layers.i.mla.q_norm [Q]      layers.i.mla.w_uq [H(N+R),Q]
//   layers.i.mla.w_q [H(N+R),D]        (instead of the three above when Q = 0)
//   layers.i.mla.w_dkv [C+R,D]         layers.i.mla.kv_norm [C]     layers.i.mla.w_ukv [H(N+V),C]
//   layers.i.mla.w_o [D,HV]
//   layers.i.ffn.w_gate, w_up [hidden,D], w_down [D,hidden]                       dense layers
//   layers.i.router.w [E,D]            layers.i.router.bias [E]     (bias: state, not trained by gradients; not decayed)
//   layers.i.experts.w_gate, w_up [E,F,D], w_down [E,D,F]
//   layers.i.shared.w_gate, w_up [S F,D],  w_down [D,S F]
//   layers.i.mtp.embedding_norm, hidden_norm, head_norm [D]   layers.i.mtp.w_proj [D,2D]  columns [embedding ; hidden]
// All matrices are [out, in], row-major, as in Hugging Face files.
#include <string>
#include <vector>

#include "arch/dims.hpp"

namespace arch {

enum class Init { normal, one, zero };
enum class Kind {
  matrix, // decayed, used in the compute dtype
  norm,   // FP32 always, not decayed
  router, // FP32 always, decayed
  bias    // router bias: FP32, no gradient, moved by the balancing rule
};
// Which axis of the machine shares a dim of the tensor.
enum class Sharding { replicated, experts };

struct TensorSpec {
  std::string name;
  std::vector<Index> shape;
  Kind kind = Kind::matrix;
  Init init = Init::normal;
  Sharding sharding = Sharding::replicated;
  bool decay = true;
  Index layer = -1; // -1: outside the layers
  std::string room; // embedding, head, norm, mla, ffn, router, experts, shared, mtp: for counts
  // External names (columns of this list; converters have no list of their own).
  std::string hf_name; // Hugging Face; "{e}" stands for the expert where dim 0 is the expert
  bool hf_fp8 = false; // published as E4M3 with weight_scale_inv in FP8 checkpoints
  std::string
      gguf_name; // GGUF deepseek2; "{kv}" : split into k and v parts; "": has no place there (MTP)
  Index size() const; // elements
  bool trained() const { return kind != Kind::bias; }
};

std::vector<TensorSpec> registry(const Dims &dims);

} // namespace arch

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dims from a Hugging Face config.json (model_type deepseek_v3 or deepseek_v2). Whatever would change the model's meaning
// and is not understood is refused by name, never passed over: other model types, tied embeddings, other activations,
// unknown rotary settings. Keys without influence on the model's arithmetic (token ids, dropout 0, cache) are ignored.
//
// Errors, exit code 2: E050 not JSON (or a repeated key), E051 unknown model type, E052 key missing, E053 wrong type,
// E054 out of range, E055 not supported, E056 keys contradict each other; E040..E047 as for a deck.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arch/dims.hpp"

namespace arch {

// text: the whole file; where: its path, for messages ("path:line").
Dims dims_from_hf_config(std::string_view text, const std::string &where);

// What the file says beside the dims.
struct HfConfig {
  Dims dims;
  Index max_positions = 0;       // max_position_embeddings
  bool tells_mtp_hidden = false; // public files do not: then dims has the default
  // Choices of training that the file tells, by their fingerprint names: balance.alpha from aux_loss_alpha.
  std::vector<std::pair<std::string, std::string>> training;
};
HfConfig read_hf_config(std::string_view text, const std::string &where);

// The other way round. Rotary settings stand in the old form and in the new one. E145 (exit code 5): a model that no public
// model_type describes.
struct HfWriting {
  Index max_positions = 0;
  std::string dtype = "bfloat16"; // of the tensors that are not FP8
  bool fp8 = false;               // adds quantization_config
  Index bos = -1, eos = -1;       // token ids; -1: none
  std::string
      original; // the config.json that the model was imported with, or "": keys that say nothing of the arithmetic are kept
};
std::string write_hf_config(const Dims &dims, const HfWriting &how);

} // namespace arch

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

#include "arch/dims.hpp"

namespace arch {

// text: the whole file; where: its path, for messages ("path:line").
Dims dims_from_hf_config(std::string_view text, const std::string &where);

} // namespace arch

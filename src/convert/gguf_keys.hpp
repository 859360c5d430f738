// SPDX-License-Identifier: Apache-2.0
#pragma once
// The keys of a GGUF file of architecture deepseek2: the model's numbers and its tokenizer.
#include "arch/dims.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/gguf.hpp"
#include "convert/to_gguf.hpp"

namespace convert {

// dims: as written (one shared expert at least, no MTP). name: general.name.
void add_model_keys(const arch::Dims &dims, std::int64_t max_positions, const std::string &name,
                    GgufType type, checkpoint::gguf::KeyValues &keys);

// tokenizer.json and, where the checkpoint has them, tokenizer_config.json and chat_template.jinja. Error E148, exit code 6.
void add_tokenizer_keys(const checkpoint::Reader &reader, arch::Index vocabulary,
                        checkpoint::gguf::KeyValues &keys);

} // namespace convert

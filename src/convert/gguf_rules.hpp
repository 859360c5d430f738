// SPDX-License-Identifier: Apache-2.0
#pragma once
// What llama.cpp's deepseek2 can load and computes as we do. Read off its loader and graph, and tried.
#include <string>

#include "arch/dims.hpp"

namespace convert {

// Error E146 with the key of the deck, the reason and what can be done. where: the checkpoint.
void require_gguf(const arch::Dims &dims, const std::string &where);

// 26 and 27 layers, and 48 with a certain vocabulary, are taken for DeepSeek-V2-Lite and its kin: queries are not compressed there.
bool taken_for_lite(const arch::Dims &dims);
// Whether the choice of groups leaves experts out: otherwise the model is exported without groups, which is the same.
bool limits_groups(const arch::Dims &dims);

} // namespace convert

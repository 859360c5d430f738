// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal convert from-hf: a Hugging Face directory (config.json, safetensors, tokenizer) becomes a checkpoint of step 0 that every
// phase starts from (run.init_from) and every command reads. Tensors stream through memory maps in pieces; FP8 blocks are
// multiplied by their scales; nothing that would change the model's meaning is passed over.
#include <filesystem>
#include <string>

namespace convert {

struct FromHf {
  std::filesystem::path directory, out; // out: a new run directory
  bool without_mtp = false; // leave MTP modules out, also where config.json promises them
};
// Gives the step directory written. Errors: exit code 5: E050..E056 and E040..E047 (config.json), E140 (files missing), E141, E142
// (safetensors), E143 (tensors missing, unexpected or of other shapes), E144 (scales), E147 (out is not empty), E201; 6: E101
// (tokenizer.json).
std::filesystem::path from_hf(const FromHf &options);

} // namespace convert

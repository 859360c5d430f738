// SPDX-License-Identifier: Apache-2.0
#pragma once
// One safetensors file, written in pieces, brought to the disk.
#include <filesystem>
#include <vector>

#include "convert/hf_plan.hpp"

namespace convert {

// Error E149 (exit code 5): the disk is full, or the file cannot be written; nothing stays behind.
void write_shard(const std::filesystem::path &path, const std::vector<HfTensor> &tensors);

} // namespace convert

// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal convert to-hf: a checkpoint becomes a Hugging Face directory: config.json, generation_config.json, tokenizer files and
// safetensors shards with their index.
#include <cstdint>
#include <filesystem>
#include <string>

namespace convert {

enum class HfType { f32, bf16, fp8 };
struct ToHf {
  std::filesystem::path checkpoint, out; // out: a new folder
  HfType type = HfType::bf16;
  std::uint64_t shard_bytes = 5'000'000'000; // a shard is closed before it would become larger
  std::string section = "weights";           // or "average"
};
// Errors, exit code 5: E145 (a model that the format cannot say), E147 (out is not empty), E149 (written nothing: disk), E210..E213.
void to_hf(const ToHf &options);

} // namespace convert

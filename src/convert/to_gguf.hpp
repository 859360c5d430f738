// SPDX-License-Identifier: Apache-2.0
#pragma once
// hadal convert to-gguf: a checkpoint becomes one GGUF file of architecture deepseek2 for llama.cpp. MTP modules are left out.
#include <filesystem>
#include <string>

namespace convert {

enum class GgufType { f32, bf16, f16, q8_0 };
struct ToGguf {
  std::filesystem::path checkpoint, out; // out: a new file
  GgufType type = GgufType::bf16;
  std::string section = "weights"; // or "average"
};
// Errors, exit code 5: E146 (a model that llama.cpp cannot load or would compute otherwise), E147 (out exists), E149 (disk),
// E210..E213; 6: E148 (a tokenizer that GGUF cannot say).
void to_gguf(const ToGguf &options);

} // namespace convert

// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a Hugging Face directory of a checkpoint holds: every tensor with its name, type, shape and the way to its bytes.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checkpoint/safetensors.hpp"
#include "convert/source.hpp"
#include "convert/to_hf.hpp"

namespace convert {

struct HfTensor {
  std::string name;
  checkpoint::safetensors::Dtype dtype = checkpoint::safetensors::Dtype::f32;
  std::vector<std::int64_t> shape;
  // Writes elements [first, first + count) in the file's type.
  std::function<void(std::uint64_t first, std::uint64_t count, void *to)> fill;
  // Pieces begin at multiples of this many elements (FP8: rows of blocks).
  std::uint64_t unit = 1;
  std::uint64_t size() const;
  std::uint64_t bytes() const;
};

// In the order of the registry; experts one by one; a module's copies of embedding and head behind its tensors. The source must
// outlive the list.
std::vector<HfTensor> plan_hf(const Source &source, HfType type);

} // namespace convert

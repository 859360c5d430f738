// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tensors of a Hugging Face directory, wherever they lie: model.safetensors, or shards with their index. Files are mapped, not
// read; numbers come out as FP32 in pieces of any size, and mapped pages are given back after use.
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/files.hpp"
#include "checkpoint/safetensors.hpp"

namespace convert {

class HfFiles {
public:
  // Opens and checks every file. Errors E140 (nothing there, a shard is missing), E141, E142.
  explicit HfFiles(const std::filesystem::path &directory);

  struct Tensor {
    checkpoint::safetensors::Entry entry;
    std::size_t file = 0;
    // FP8: the factors of its blocks [ceil(rows / 128), ceil(columns / 128)]; null for other types.
    const Tensor *scale = nullptr;
  };
  // null: no such tensor. Scales are found by their tensor, not by name.
  const Tensor *find(const std::string &name) const;
  const std::map<std::string, Tensor> &tensors() const { return tensors_; }
  std::filesystem::path file_of(const Tensor &tensor) const { return paths_[tensor.file]; }
  std::uint64_t bytes() const; // of all tensors
  std::size_t files() const { return paths_.size(); }

  // Elements [first, first + count), row-major, as FP32; FP8 times its scale.
  void read(const Tensor &tensor, std::uint64_t first, std::size_t count, float *to) const;
  // Are two tensors equal, bit for bit as FP32?
  bool same(const Tensor &a, const Tensor &b) const;

private:
  const std::byte *place(const Tensor &tensor) const;
  void add_file(const std::filesystem::path &path);
  void add_index(const std::filesystem::path &directory, const std::filesystem::path &index);
  void join_scales();

  std::vector<std::filesystem::path> paths_;
  std::vector<base::MappedFile> maps_;
  std::vector<std::uint64_t> data_begin_;
  std::map<std::string, Tensor> tensors_;
};

} // namespace convert

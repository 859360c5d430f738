// SPDX-License-Identifier: Apache-2.0
#include "convert/hf_files.hpp"

#include <algorithm>
#include <cstring>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.hpp"
#include "convert/formats.hpp"

namespace convert {

namespace fs = std::filesystem;
namespace st = checkpoint::safetensors;
using base::Exit, base::UserError;

namespace {

constexpr const char *kScale = "_scale_inv";
constexpr std::size_t kMostIndexBytes = std::size_t{1} << 28;

[[noreturn]] void missing(const fs::path &where, const std::string &what) {
  throw UserError(Exit::checkpoint, "E140", where.string(), what,
                  "A model is model.safetensors, or shards with model.safetensors.index.json.");
}

} // namespace

HfFiles::HfFiles(const fs::path &directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) missing(directory, "is not a folder");
  const fs::path single = directory / "model.safetensors",
                 index = directory / "model.safetensors.index.json";
  const bool one = fs::exists(single, error), many = fs::exists(index, error);
  if (one && many)
    throw UserError(Exit::checkpoint, "E142", directory.string(),
                    "holds model.safetensors and model.safetensors.index.json",
                    "It is not told which of the two is the model; move one away.");
  if (!one && !many) missing(directory, "holds no model.safetensors and no index of shards");
  if (one)
    add_file(single);
  else
    add_index(directory, index);
  join_scales();
}

void HfFiles::add_file(const fs::path &path) {
  const std::size_t file = paths_.size();
  paths_.push_back(path);
  maps_.emplace_back(path, Exit::checkpoint, "E140");
  st::Header header = st::parse_header(maps_.back().text(), maps_.back().size(), path.string());
  data_begin_.push_back(header.data_begin);
  for (st::Entry &entry : header.entries) {
    const std::string name = entry.name;
    const auto [at, added] = tensors_.emplace(name, Tensor{std::move(entry), file, nullptr});
    if (!added)
      throw UserError(Exit::checkpoint, "E142", path.string(), name,
                      fmt::format("This tensor lies in {} too; which one counts?",
                                  paths_[at->second.file].filename().string()));
  }
}

void HfFiles::add_index(const fs::path &directory, const fs::path &path) {
  const st::Index index = st::parse_index(
      base::read_file(path, Exit::checkpoint, "E142", kMostIndexBytes), path.string());
  std::set<std::string> files;
  for (const auto &[tensor, file] : index.files) files.insert(file);
  std::string absent;
  std::error_code error;
  for (const std::string &file : files)
    if (!fs::exists(directory / file, error)) absent += "\n    " + file;
  if (!absent.empty()) missing(directory, "shards that the index names are missing:" + absent);
  for (const std::string &file : files) add_file(directory / file);
  std::map<std::string, std::string> told(index.files.begin(), index.files.end());
  for (const auto &[name, tensor] : tensors_) {
    const std::string file = paths_[tensor.file].filename().string();
    const auto it = told.find(name);
    if (it == told.end() || it->second != file)
      throw UserError(Exit::checkpoint, "E142", path.string(), name,
                      it == told.end()
                          ? fmt::format("lies in {}, but the index does not name it.", file)
                          : fmt::format("lies in {}, the index says {}.", file, it->second));
    told.erase(it);
  }
  if (!told.empty())
    throw UserError(Exit::checkpoint, "E142", path.string(), told.begin()->first,
                    fmt::format("should lie in {}, which does not have it.", told.begin()->second));
  if (index.total_size != 0 && index.total_size != bytes())
    throw UserError(Exit::checkpoint, "E142", path.string(),
                    fmt::format("total_size = {}", index.total_size),
                    fmt::format("The tensors of the shards have {} bytes.", bytes()));
}

void HfFiles::join_scales() {
  const auto wrong = [&](const Tensor &t, const std::string &what) {
    throw UserError(Exit::checkpoint, "E144", file_of(t).string(), t.entry.name, what);
  };
  for (auto &[name, tensor] : tensors_) {
    if (tensor.entry.dtype != st::Dtype::f8_e4m3) continue;
    const auto it = tensors_.find(name + kScale);
    if (it == tensors_.end())
      wrong(tensor, fmt::format("is F8_E4M3, and there is no {}{}.", name, kScale));
    const Tensor &scale = it->second;
    const auto &shape = tensor.entry.shape;
    if (shape.size() != 2) wrong(tensor, "is F8_E4M3 and no matrix.");
    const std::vector<std::int64_t> expected = {blocks_of(shape[0]), blocks_of(shape[1])};
    if (scale.entry.dtype != st::Dtype::f32 || scale.entry.shape != expected)
      wrong(scale, fmt::format("is {} [{}]; one F32 factor is needed for each 128 x 128 block of a "
                               "matrix [{}]: [{}].",
                               scale.entry.dtype_name, fmt::join(scale.entry.shape, ", "),
                               fmt::join(shape, ", "), fmt::join(expected, ", ")));
    const std::byte *at = place(scale);
    for (std::uint64_t i = 0; i < scale.entry.size(); ++i) {
      float factor;
      std::memcpy(&factor, at + 4 * i, 4);
      if (!(factor >= 0) || !std::isfinite(factor))
        wrong(scale,
              fmt::format("element {} is {}; a factor is finite and not negative.", i, factor));
    }
    tensor.scale = &scale;
  }
  for (const auto &[name, tensor] : tensors_) {
    if (!name.ends_with(kScale)) continue;
    const auto it = tensors_.find(name.substr(0, name.size() - std::strlen(kScale)));
    if (it == tensors_.end() || it->second.scale == nullptr)
      wrong(tensor, "is a factor of no F8_E4M3 matrix.");
  }
}

const HfFiles::Tensor *HfFiles::find(const std::string &name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

std::uint64_t HfFiles::bytes() const {
  std::uint64_t sum = 0;
  for (const auto &[name, tensor] : tensors_) sum += tensor.entry.bytes();
  return sum;
}

const std::byte *HfFiles::place(const Tensor &tensor) const {
  return maps_[tensor.file].data() + data_begin_[tensor.file] + tensor.entry.begin;
}

void HfFiles::read(const Tensor &tensor, std::uint64_t first, std::size_t count, float *to) const {
  const std::size_t width = st::bytes_of(tensor.entry.dtype);
  HADAL_CHECK(width > 0 && first + count <= tensor.entry.size(), "{}: {} + {}", tensor.entry.name,
              first, count);
  const std::byte *from = place(tensor) + first * width;
  const auto each16 = [&](auto decode) {
    for (std::size_t i = 0; i < count; ++i) {
      std::uint16_t bits;
      std::memcpy(&bits, from + 2 * i, 2);
      to[i] = decode(bits);
    }
  };
  if (tensor.entry.dtype == st::Dtype::f32) std::memcpy(to, from, 4 * count);
  if (tensor.entry.dtype == st::Dtype::bf16) each16(from_bf16);
  if (tensor.entry.dtype == st::Dtype::f16) each16(from_f16);
  if (tensor.entry.dtype == st::Dtype::f8_e4m3) {
    const auto columns = static_cast<std::uint64_t>(tensor.entry.shape[1]);
    const std::byte *scales = place(*tensor.scale);
    for (std::size_t i = 0; i < count;) { // runs within one block of one row
      const std::uint64_t row = (first + i) / columns, column = (first + i) % columns;
      const std::uint64_t run =
          std::min({kBlock - column % kBlock, columns - column, std::uint64_t{count - i}});
      const std::uint64_t block =
          row / kBlock * static_cast<std::uint64_t>(tensor.scale->entry.shape[1]) + column / kBlock;
      float scale;
      std::memcpy(&scale, scales + 4 * block, 4);
      for (const std::size_t end = i + run; i < end; ++i)
        to[i] = from_e4m3(static_cast<std::uint8_t>(from[i])) * scale;
    }
  }
  maps_[tensor.file].release(from - maps_[tensor.file].data(), count * width);
}

bool HfFiles::same(const Tensor &a, const Tensor &b) const {
  if (a.entry.shape != b.entry.shape) return false;
  constexpr std::uint64_t kPiece = 1 << 20;
  std::vector<float> left(kPiece), right(kPiece);
  for (std::uint64_t first = 0; first < a.entry.size(); first += kPiece) {
    const std::uint64_t n = std::min(kPiece, a.entry.size() - first);
    read(a, first, n, left.data());
    read(b, first, n, right.data());
    if (std::memcmp(left.data(), right.data(), 4 * n) != 0) return false;
  }
  return true;
}

} // namespace convert

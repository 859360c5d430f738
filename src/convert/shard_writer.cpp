// SPDX-License-Identifier: Apache-2.0
#include "convert/shard_writer.hpp"

#include <algorithm>

#include "base/output_file.hpp"

namespace convert {

namespace st = checkpoint::safetensors;

namespace {
constexpr std::uint64_t kPiece = std::uint64_t{1} << 22; // elements
}

void write_shard(const std::filesystem::path &path, const std::vector<HfTensor> &tensors) {
  std::vector<st::Entry> entries;
  for (const HfTensor &tensor : tensors) {
    st::Entry entry;
    entry.name = tensor.name, entry.dtype = tensor.dtype, entry.shape = tensor.shape;
    entries.push_back(std::move(entry));
  }
  base::OutputFile file(path, base::Exit::checkpoint, "E149");
  file.write(st::make_header(entries, {{"format", "pt"}}));
  std::vector<char> piece;
  for (const HfTensor &tensor : tensors) {
    const std::uint64_t size = tensor.size(), width = st::bytes_of(tensor.dtype);
    const std::uint64_t step = std::max(kPiece / tensor.unit, std::uint64_t{1}) * tensor.unit;
    for (std::uint64_t first = 0; first < size; first += step) {
      const std::uint64_t n = std::min(step, size - first);
      piece.resize(std::max<std::size_t>(piece.size(), n * width));
      tensor.fill(first, n, piece.data());
      file.write({piece.data(), n * width});
    }
  }
  file.finish();
}

} // namespace convert

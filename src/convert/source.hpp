// SPDX-License-Identifier: Apache-2.0
#pragma once
// A checkpoint as converters see it: dims from its resolved deck, tensors as streams of FP32 numbers.
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "arch/registry.hpp"
#include "checkpoint/checkpoint.hpp"

namespace convert {

class Source {
public:
  // section: "weights" or "average" (E213 when the checkpoint has none). Verifies checksums (E211).
  static Source open(const std::filesystem::path &checkpoint, const std::string &section);

  const checkpoint::Reader &reader() const { return reader_; }
  const arch::Dims &dims() const { return dims_; }
  const std::vector<arch::TensorSpec> &registry() const { return registry_; }
  // Longest context that the model claims: the imported one, else original x factor under YaRN, else the deck's batch.sequence.
  std::int64_t max_positions() const { return max_positions_; }
  // Elements [first, first + count) of a registry tensor, row-major, FP32.
  void read(const std::string &tensor, std::uint64_t first, std::size_t count, float *to) const;
  // Tensors that an import left beside the weights (convert/hf_tensors.hpp); of no other section than "weights".
  bool has_extra(const std::string &section, const std::string &tensor) const;
  void read_extra(const std::string &section, const std::string &tensor, std::uint64_t first,
                  std::size_t count, float *to) const;

private:
  Source(checkpoint::Reader reader, std::string section);
  checkpoint::Reader reader_;
  std::string section_;
  arch::Dims dims_;
  std::vector<arch::TensorSpec> registry_;
  std::int64_t max_positions_ = 0;
  std::set<std::string> extras_; // "section/tensor"
};

} // namespace convert

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cases of tests/reference/hf: a foreign directory, imported into a scratch folder, and the numbers that another program gave.
#include <bit>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/files.hpp"
#include "checkpoint/safetensors.hpp"
#include "convert/from_hf.hpp"
#include "infer/load.hpp"
#include "tests/support/arrays.hpp"

namespace parity {

namespace fs = std::filesystem;
using support::Values;
using tensor::Index;

inline fs::path reference(const std::string &name) {
  return fs::path(HADAL_SOURCE_DIR) / "tests" / "reference" / "hf" / name;
}

// A safetensors file in memory; F32 and I32 tensors as values.
class Tensors {
public:
  explicit Tensors(const fs::path &path) : text_(base::read_file(path, base::Exit::data, "E141")) {
    const auto header = checkpoint::safetensors::parse_header(text_, text_.size(), path.string());
    data_ = header.data_begin;
    for (const auto &entry : header.entries) entries_[entry.name] = entry;
  }
  Values at(const std::string &name) const {
    const auto &entry = entries_.at(name);
    const bool whole = entry.dtype_name == "I32";
    EXPECT_TRUE(whole || entry.dtype_name == "F32") << name;
    Values values(entry.bytes() / 4);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, text_.data() + data_ + entry.begin + 4 * i, 4);
      values[i] = whole ? static_cast<double>(static_cast<std::int32_t>(bits))
                        : static_cast<double>(std::bit_cast<float>(bits));
    }
    return values;
  }
  const std::vector<std::int64_t> &shape(const std::string &name) const {
    return entries_.at(name).shape;
  }
  // Names that begin so, without the beginning.
  std::vector<std::string> names(const std::string &prefix) const {
    std::vector<std::string> found;
    for (const auto &[name, entry] : entries_)
      if (name.starts_with(prefix)) found.push_back(name.substr(prefix.size()));
    return found;
  }

private:
  std::string text_;
  std::uint64_t data_ = 0;
  std::map<std::string, checkpoint::safetensors::Entry> entries_;
};

inline nlohmann::json golden_json(const std::string &name) {
  return nlohmann::json::parse(
      base::read_file(reference(name) / "golden.json", base::Exit::data, "E141"));
}

class Scratch {
public:
  Scratch() : path_(fs::temp_directory_path() / ("hadal-parity-" + std::to_string(getpid()))) {
    fs::remove_all(path_), fs::create_directories(path_);
  }
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path &path() const { return path_; }

private:
  fs::path path_;
};

// The checkpoint of a case, imported once per process.
inline checkpoint::Reader imported(const std::string &name) {
  static const Scratch scratch;
  static std::map<std::string, fs::path> done;
  if (!done.contains(name)) {
    convert::FromHf options;
    options.directory = reference(name), options.out = scratch.path() / name;
    done[name] = convert::from_hf(options);
  }
  return checkpoint::Reader::open(done.at(name));
}

// Where a tensor of another program lies in one of the registry: whole, or slice e of it.
struct Place {
  const arch::TensorSpec *spec = nullptr;
  std::size_t first = 0, count = 0;
};
// By external name. The registry must outlive the map.
inline std::map<std::string, Place> places(const std::vector<arch::TensorSpec> &registry) {
  std::map<std::string, Place> found;
  for (const auto &spec : registry) {
    const auto size = static_cast<std::size_t>(spec.size());
    const std::size_t hole = spec.hf_name.find("{e}");
    if (hole == std::string::npos) {
      found[spec.hf_name] = {&spec, 0, size};
      continue;
    }
    const auto experts = static_cast<std::size_t>(spec.shape[0]);
    for (std::size_t e = 0; e < experts; ++e) {
      std::string name = spec.hf_name;
      found[name.replace(hole, 3, std::to_string(e))] = {&spec, e * (size / experts),
                                                         size / experts};
    }
  }
  return found;
}

inline Values slice(const Values &values, std::size_t first, std::size_t count) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
  return Values(begin, begin + static_cast<std::ptrdiff_t>(count));
}

} // namespace parity

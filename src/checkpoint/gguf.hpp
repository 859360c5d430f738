// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writes GGUF version 3, the container of llama.cpp: keys with values, a list of tensors, then their numbers at multiples of 32
// bytes. The numbers are given front to back in pieces; the file stands under its name only when it is complete and on the disk.
// Little-endian. Free of Kokkos, MPI and HDF5.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/half.hpp"

namespace checkpoint::gguf {

inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::uint64_t kAlignment = 32;
inline constexpr std::size_t kLongestName = 63, kMostDims = 4;

enum class Type : std::uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };
const char *name_of(Type type); // "Q8_0"

using base::from_bf16, base::from_f16, base::to_bf16, base::to_f16;
// Blocks of 32: d = max |x| / 127 stored as F16, then q = x / d rounded half away from zero, 8 bits each; x is read as d q.
inline constexpr std::size_t kBlock = 32, kBlockBytes = 34;
void to_q8_0(std::span<const float> values, std::byte *blocks); // whole blocks

std::size_t bytes_of(Type type, std::size_t elements);
void encode(Type type, std::span<const float> values, std::byte *to);
// The first finite value that the type has no number near to (F16, scales of Q8_0), or one that is not finite for Q8_0.
std::optional<float> unfit(Type type, std::span<const float> values);

// Keys and values, serialised in the order given. Keys must differ.
class KeyValues {
public:
  void add(std::string_view key, std::uint32_t value);
  void add(std::string_view key, float value);
  void add(std::string_view key, bool value);
  void add(std::string_view key, std::string_view value);
  void add(std::string_view key, const char *value) { add(key, std::string_view(value)); }
  void add(std::string_view key, const std::vector<std::string> &values);
  void add(std::string_view key, const std::vector<std::int32_t> &values);
  std::uint64_t count() const { return keys_.size(); }
  const std::string &bytes() const { return bytes_; }

private:
  void key(std::string_view key, std::uint32_t type);
  std::vector<std::string> keys_;
  std::string bytes_;
};

struct Tensor {
  std::string name;
  std::vector<std::uint64_t> dims; // fastest first: a row-major [out, in] is {in, out}
  Type type = Type::f32;
  std::size_t size() const; // elements
};

// Errors E149, exit code 5 (full disk, no permission); the unfinished file is removed by the destructor.
class Writer {
public:
  // general.alignment is added to the keys.
  Writer(const std::filesystem::path &path, KeyValues keys, std::vector<Tensor> tensors);
  ~Writer();
  Writer(const Writer &) = delete;
  // The next numbers of the current tensor, in rows; whole blocks for Q8_0. The tensor after it begins where this one is full.
  void append(std::span<const float> values);
  // All tensors are there: fsync and rename.
  void finish();
  std::uint64_t bytes() const; // of the whole file

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace checkpoint::gguf

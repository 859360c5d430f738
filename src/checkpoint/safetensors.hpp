// SPDX-License-Identifier: Apache-2.0
#pragma once
// The safetensors container: 8 bytes little-endian header length, a JSON header, then the tensors' bytes without holes or overlap.
// Reading takes nothing on trust: lengths, offsets, shapes, repeated names and the JSON itself are checked before any byte of a
// tensor is touched. Free of Kokkos, MPI and HDF5.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace checkpoint::safetensors {

inline constexpr std::uint64_t kMostHeaderBytes = 100'000'000;

enum class Dtype { f32, bf16, f16, f8_e4m3, other };

struct Entry {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::string dtype_name; // as in the file: "F8_E4M3"
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0; // bytes, counted from the start of the data
  std::uint64_t bytes() const { return end - begin; }
  std::uint64_t size() const; // elements
};
struct Header {
  std::vector<Entry> entries; // by offset
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0; // bytes from the start of the file
};

// bytes: the file from its start (the whole file, or at least the header); file_size: of the whole file. Error E141, exit code 5.
Header parse_header(std::string_view bytes, std::uint64_t file_size, const std::string &where);

// Length field, JSON and padding such that the data start at a multiple of 8. Entries lie one behind another in the order given:
// begin and end are filled in.
std::string make_header(std::vector<Entry> &entries,
                        const std::map<std::string, std::string> &metadata);

// model.safetensors.index.json: where each tensor lies. Error E142, exit code 5.
struct Index {
  std::uint64_t total_size = 0;                           // 0: the file does not tell
  std::vector<std::pair<std::string, std::string>> files; // tensor name, file name (no folders)
};
Index parse_index(std::string_view text, const std::string &where);
std::string make_index(const Index &index);

const char *name_of(Dtype dtype);  // "F8_E4M3"
std::size_t bytes_of(Dtype dtype); // of an element; 0 for other

} // namespace checkpoint::safetensors

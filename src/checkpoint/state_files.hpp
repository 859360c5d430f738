// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bytes of the tensors behind a manifest, wherever the writers put their pieces, read by place and without HDF5.
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "checkpoint/manifest.hpp"

namespace checkpoint {

// Faults: E211, which names the file and the tensor.
class StateFiles {
public:
  explicit StateFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}
  ~StateFiles() { close_all(); }
  StateFiles(const StateFiles &) = delete;

  enum class Check {
    none,    // all was verified before
    whole,   // only pieces that are wanted whole, which costs no further reading
    touched, // every piece that is touched, once
  };
  // Bytes [first, first + bytes) of a tensor. name: "weights/layers.0.w", for messages.
  void read(const std::string &name, const StoredTensor &tensor, std::uint64_t first,
            std::size_t bytes, void *to, Check check);
  // Compares the pieces that [first, first + bytes) touches with their checksums, unless that was done before.
  void verify(const std::string &name, const StoredTensor &tensor, std::uint64_t first,
              std::size_t bytes);
  // Compares a whole file with what the manifest says; "" or what is wrong, with the tensor that was changed where one was.
  std::string fault_of(const std::string &file, const Manifest &manifest);

private:
  void read_at(const std::string &file, std::uint64_t offset, std::size_t bytes, void *to);
  // Reads a whole piece past the checksum; gives bytes [from, to_byte) of it to `to`.
  bool right(const StoredPiece &piece, std::size_t width, std::uint64_t from = 0,
             std::size_t bytes = 0, void *to = nullptr);
  void require_right(const std::string &name, const StoredPiece &piece, bool right);
  int open(const std::string &file);
  void close_all();

  std::filesystem::path directory_;
  std::map<std::string, int> open_;
  std::set<const StoredPiece *> verified_;
};

} // namespace checkpoint

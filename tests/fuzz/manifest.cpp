// SPDX-License-Identifier: Apache-2.0
// manifest.json of a checkpoint, as if its seal fitted.
#include "checkpoint/manifest.hpp"

#include "tests/fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  return fuzz::only_user_errors([&] {
    const auto manifest = checkpoint::parse_manifest(std::string(fuzz::text_of(data, size)), "run");
    for (const auto &section : manifest.sections)
      for (const auto &tensor : section.tensors) {
        std::uint64_t elements = 0;
        for (const auto &piece : tensor.pieces) {
          const auto bytes = piece.count * checkpoint::bytes_of(tensor.item.type);
          fuzz::require(piece.offset + bytes <= manifest.states.at(piece.file).bytes,
                        "pieces within their files");
          fuzz::require(piece.first == elements, "pieces in order");
          elements += piece.count;
        }
        fuzz::require(elements == tensor.item.size(), "whole tensors");
      }
  });
}

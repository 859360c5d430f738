// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: no name of a file leads out of the folder; what was read is written and reads the same.
#include "checkpoint/safetensors.hpp"

#include "tests/fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  namespace st = checkpoint::safetensors;
  return fuzz::only_user_errors([&] {
    const st::Index index = st::parse_index(fuzz::text_of(data, size), "fuzz.index.json");
    fuzz::require(!index.files.empty(), "some tensor");
    for (const auto &[tensor, file] : index.files)
      fuzz::require(!file.empty() && file.find('/') == std::string::npos && file != "..",
                    "a name without folders");
    const st::Index copy = st::parse_index(st::make_index(index), "again.index.json");
    fuzz::require(copy.total_size == index.total_size && copy.files == index.files, "the same");
  });
}

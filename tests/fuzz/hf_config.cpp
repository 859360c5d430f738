// SPDX-License-Identifier: Apache-2.0
// config.json: what is accepted must be a model that can be counted.
#include "arch/hf_config.hpp"
#include "arch/counts.hpp"

#include "tests/fuzz/target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  return fuzz::only_user_errors([&] {
    const arch::Dims dims = arch::dims_from_hf_config(fuzz::text_of(data, size), "config.json");
    fuzz::require(dims.layers > 0 && dims.model > 0 && dims.vocabulary > 1, "dims in range");
  });
}

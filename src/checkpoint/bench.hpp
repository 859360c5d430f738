// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writing and reading a checkpoint against plain copies of the same bytes: hadal bench checkpoint.
#include <cstdint>
#include <filesystem>
#include <string>

namespace checkpoint {

struct BenchOptions {
  std::filesystem::path directory; // a folder of its own is made below it and removed
  std::int64_t bytes = std::int64_t{1} << 28;
  int repeats = 3;
};
// The table, as text. Best of the repeats; each kind of copy in turn, so that a busy disk hits all.
std::string bench(const BenchOptions &options);

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writing and reading a checkpoint against plain copies of the same bytes: hadal bench checkpoint. With many writers each has its share of
// the bytes: one checkpoint of all behind one manifest, against one plain file of each.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace checkpoint {

// Who writes beside this process. This room knows no messages: its caller lends what is needed.
struct Company {
  int writer = 0, writers = 1;
  std::function<void()> meet = [] {};                                       // all have come here
  std::function<double(double)> largest = [](double mine) { return mine; }; // of all
};

struct BenchOptions {
  std::filesystem::path
      directory; // a folder of this name is made and removed; the same for all writers
  std::int64_t bytes = std::int64_t{1} << 28; // of all writers together
  int repeats = 3;
  Company company;
};
// The table, as text. Best of the repeats, each the slowest writer's; each kind of copy in turn, so that a busy disk hits all.
std::string bench(const BenchOptions &options);

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstdio>
#include <filesystem>

#include "tests/unit/numerics/products.hpp"

namespace products {

Child run_again(const std::string &environment, const std::string &filter) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command = environment + " '" + self + "' '--gtest_filter=" + filter + "' 2>&1";
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe) return {"popen failed", -1};
  Child child{{}, 0};
  std::array<char, 4096> buffer;
  while (const std::size_t n = fread(buffer.data(), 1, buffer.size(), pipe))
    child.output.append(buffer.data(), n);
  child.status = pclose(pipe);
  return child;
}

} // namespace products

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a converter writes: a folder that does not exist yet, or is empty. What a fault leaves half done is removed.
#include <filesystem>

#include "base/error.hpp"

namespace convert {

class NewFolder {
public:
  // Makes the folder. E147: it exists and is not empty, or cannot be made.
  explicit NewFolder(std::filesystem::path path);
  ~NewFolder(); // removes it, unless kept
  NewFolder(const NewFolder &) = delete;
  void keep() { kept_ = true; }

private:
  std::filesystem::path path_;
  bool kept_ = false, made_ = false;
};

} // namespace convert

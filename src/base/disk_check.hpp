// SPDX-License-Identifier: Apache-2.0
#pragma once
// A file written, brought to the disk, read back and compared: part of `hadal selftest`.
#include <cstddef>
#include <filesystem>
#include <string_view>

#include "base/error.hpp"

namespace base {

struct DiskRates {
  double write = 0, read = 0; // bytes a second; writing includes fsync
};

// The file must not exist before; it is removed in any case. Errors (Exit::machine) carry the caller's number.
DiskRates check_disk(const std::filesystem::path &file, std::size_t bytes, std::string_view number);

} // namespace base

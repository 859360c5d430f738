// SPDX-License-Identifier: Apache-2.0
#pragma once
// The text of `hadal count`: parameters by room, FLOPs a token, bytes of state, activations and cache, aligned for reading.
#include <string>

#include "arch/dims.hpp"

namespace arch {

struct ReportOptions {
  std::string title;     // deck or config file
  Index sequence = 4096; // tokens over which attention looks back
};
std::string count_report(const Dims &dims, const ReportOptions &options);

} // namespace arch

// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace base {

std::string version(); // of the program, e.g. "0.1.0"
std::string
revision(); // of the source when the build was configured, "unknown" outside a git checkout

} // namespace base

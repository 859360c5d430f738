// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace app {

// Version, source revision and the libraries that the numbers depend on; several lines.
std::string version_text();

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include "base/revision.hpp"

namespace base {

std::string version() { return HADAL_VERSION; }
std::string revision() { return HADAL_REVISION; }

} // namespace base

// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/revision.hpp"

namespace checkpoint {

std::string source_revision() {
#ifdef HADAL_REVISION
  return HADAL_REVISION;
#else
  return "unknown";
#endif
}

} // namespace checkpoint

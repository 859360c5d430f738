// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace checkpoint {

std::string source_revision(); // git revision at configure time, or the version

} // namespace checkpoint

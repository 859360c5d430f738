// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables of the data commands.
#include <string>
#include <vector>

namespace data {

using Row = std::vector<std::string>;

// Columns as wide as their widest cell; the first two flush left, numbers flush right.
std::string table(const std::vector<Row> &rows);

} // namespace data

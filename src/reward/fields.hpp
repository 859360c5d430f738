// SPDX-License-Identifier: Apache-2.0
#pragma once
// Fields of a row, a problem, a JSON object.
#include <string>
#include <string_view>

#include "data/json.hpp"

namespace reward {

// A field by dotted path through objects and arrays ("choices.text.0"), or null.
const data::Json *field(const data::Json &row, std::string_view path);
// A scalar as text (a number without an exponent where it is whole); empty optional for arrays, objects.
bool scalar_text(const data::Json &value, std::string &out);

} // namespace reward

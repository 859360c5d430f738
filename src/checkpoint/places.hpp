// SPDX-License-Identifier: Apache-2.0
#pragma once
// Names of the directories below <run>/checkpoints.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace checkpoint {

std::string step_name(std::int64_t step); // "step-00001200"
// The step of a directory with such a name; empty for all others ("step-00001200.partial").
std::optional<std::int64_t> step_of(const std::filesystem::path &directory);
// A name beside `directory` that is free: "step-00001200.damaged", then "….damaged-2".
std::filesystem::path free_name(const std::filesystem::path &directory, const std::string &suffix);

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// One checkpoint of many writers: each publishes its part, writer 0 joins them. docs/checkpoint.md, "Many writers".
#include <cstdint>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

// Whether a snapshot needs the files of format version 2: many writers, or tensors in pieces.
bool in_parts(const WriterOptions &options, const Snapshot &snapshot);
// One writer of whole tensors: its items in the order of the whole, with the scalars of the whole.
std::vector<Section> joined(const Snapshot &snapshot);
// The pieces fit into the whole: faults of the program.
void check_parts(const WriterOptions &options, const Snapshot &snapshot);
// Writes this writer's part and returns when the checkpoint of all is in its place; gives the bytes of this writer's file. E201, E202.
std::uint64_t publish_part(const WriterOptions &options, const Snapshot &snapshot);

} // namespace checkpoint

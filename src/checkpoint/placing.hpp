// SPDX-License-Identifier: Apache-2.0
#pragma once
// What one writer and many have in common: bringing files to the disk, sealing a "step-N….partial" and putting it in its place.
#include <filesystem>
#include <string>

#include "checkpoint/checkpoint.hpp"

namespace checkpoint {

[[noreturn]] void cannot_write(const std::filesystem::path &where, const std::string &why); // E201
// Brings a file or a directory's entries to the disk.
void sync(const std::filesystem::path &path);
// A missing gigabyte is said before an hour of writing: E201 when the items do not fit on the disk.
void require_space(const std::filesystem::path &directory, const Snapshot &snapshot);
// Tokenizer, companions, deck.
void write_texts(const std::filesystem::path &partial, const Snapshot &snapshot);
// The manifest, then the seal: all else is there already.
void write_sealed(const std::filesystem::path &partial, const nlohmann::json &manifest);
// Whether a directory holds a checkpoint whose checksums are right.
bool intact(const std::filesystem::path &directory);
// partial -> place, whatever lies there.
void move_into_place(const std::filesystem::path &partial, const std::filesystem::path &place);
void set_aside_later(const std::filesystem::path &directory, std::int64_t step);

} // namespace checkpoint

// SPDX-License-Identifier: Apache-2.0
#pragma once
// Finding the files of a source. A path in a deck is a file, a folder (read recursively) or a glob with *, ?, [abc], [a-z],
// [!abc] inside a name and ** for any number of folders. Names that begin with a dot are met only when the pattern says the
// dot. Symbolic links met while searching are left out (a link may lead to text that is also read by its own name, and so
// from the training part into the validation part); a link that the deck names itself, letter by letter, is followed.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace data {

// Does a file name (without folders) match a pattern of *, ?, [..]? Linear in memory, no backtracking blow-up.
bool matches_name(std::string_view name, std::string_view pattern);

struct FoundFile {
  std::filesystem::path path;
  std::uint64_t size = 0;
  std::int64_t modified = 0; // nanoseconds since the epoch, as stat gives it
  bool operator==(const FoundFile &) const = default;
};

struct FileQuery {
  std::vector<std::string> paths, include, exclude;
};

// Every regular file, each real file once, sorted by the bytes of its path. Errors: E111 when one of the paths matches nothing,
// E112 when a folder or file cannot be read. where: source and deck for the messages.
std::vector<FoundFile> find_files(const FileQuery &query, const std::string &where);

} // namespace data

// SPDX-License-Identifier: Apache-2.0
#include "data/glob.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"

namespace data {
namespace {

namespace fs = std::filesystem;
using base::Exit;
using base::UserError;

bool is_pattern(std::string_view text) {
  return text.find_first_of("*?[") != std::string_view::npos;
}

// One character class "[...]" at pattern[at]; end is set behind it. A class without its end is a plain '['.
bool matches_class(char c, std::string_view pattern, std::size_t at, std::size_t &end) {
  std::size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  const std::size_t close = pattern.find(']', std::min(i + 1, pattern.size()));
  if (close == std::string_view::npos) {
    end = at + 1;
    return c == '[';
  }
  bool found = false;
  for (; i < close; ++i) {
    if (i + 2 < close && pattern[i + 1] == '-') {
      found =
          found || (static_cast<unsigned char>(pattern[i]) <= static_cast<unsigned char>(c) &&
                    static_cast<unsigned char>(c) <= static_cast<unsigned char>(pattern[i + 2]));
      i += 2;
    } else {
      found = found || pattern[i] == c;
    }
  }
  end = close + 1;
  return found != negated;
}

// The walk over the file system for one path of the deck.
class Search {
public:
  Search(const FileQuery &query, std::string where) : query_(query), where_(std::move(where)) {}

  void run(const std::string &text) {
    text_ = text;
    std::vector<std::string> parts;
    const fs::path path(text);
    for (const fs::path &part : path.relative_path())
      if (!part.empty() && part != ".") parts.push_back(part.string());
    // The part before the first pattern is what the deck names itself: taken as it is, links included.
    fs::path base = path.root_path();
    std::size_t first = 0;
    while (first < parts.size() && !is_pattern(parts[first])) base /= parts[first++];
    if (first == parts.size()) return named(base.empty() ? fs::path(".") : base);
    descend(base, parts, first);
  }

  std::vector<FoundFile> take() { return std::move(files_); }

private:
  // A path without pattern: a file is taken whatever its name, a folder is read recursively.
  void named(const fs::path &path) {
    const struct stat status = look(path, true);
    if (S_ISDIR(status.st_mode)) return recurse(path);
    if (!S_ISREG(status.st_mode))
      throw UserError(
          Exit::data, "E112", where_, path.string() + ": neither a file nor a folder",
          "Pipes, sockets and devices cannot be read as text; write the text to a file.");
    add(path, status);
  }

  // Matches parts[i...] below folder.
  void descend(const fs::path &folder, const std::vector<std::string> &parts, std::size_t i) {
    const std::string &part = parts[i];
    const bool last = i + 1 == parts.size();
    if (part == "**") {
      if (last) return recurse(folder);
      descend(folder, parts, i + 1);
      for (const fs::path &entry : entries(folder))
        if (!hidden(entry, "") && is_folder(entry)) descend(entry, parts, i);
      return;
    }
    if (part == "..") return; // after a pattern it has no use, and could lead out of the tree
    for (const fs::path &entry : entries(folder)) {
      if (hidden(entry, part) || !matches_name(entry.filename().string(), part)) continue;
      const struct stat status = look(entry, false);
      if (last && S_ISREG(status.st_mode)) filter(entry, status);
      if (!S_ISDIR(status.st_mode)) continue;
      if (last)
        recurse(entry);
      else
        descend(entry, parts, i + 1);
    }
  }

  void recurse(const fs::path &folder) {
    for (const fs::path &entry : entries(folder)) {
      if (hidden(entry, "")) continue;
      const struct stat status = look(entry, false);
      if (S_ISDIR(status.st_mode)) recurse(entry);
      if (S_ISREG(status.st_mode)) filter(entry, status);
    }
  }

  std::vector<fs::path> entries(const fs::path &folder) {
    std::error_code error;
    std::vector<fs::path> list;
    fs::directory_iterator it(folder.empty() ? fs::path(".") : folder, error);
    for (; !error && it != fs::directory_iterator(); it.increment(error))
      list.push_back(folder / it->path().filename());
    if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory)
      return {};
    if (error) fail(folder, error.message());
    std::sort(list.begin(), list.end());
    return list;
  }

  struct stat look(const fs::path &path, bool follow) {
    struct stat status {};
    if ((follow ? ::stat(path.c_str(), &status) : ::lstat(path.c_str(), &status)) == 0)
      return status;
    const int error = errno;
    if (follow && (error == ENOENT || error == ENOTDIR))
      throw UserError(Exit::data, "E111", where_,
                      fmt::format("\"{}\": no such file or folder", text_),
                      "Relative paths count from the current folder; check the spelling of paths.");
    if (error != ENOENT) fail(path, std::strerror(error));
    return {}; // it vanished between listing and looking
  }

  bool is_folder(const fs::path &path) { return S_ISDIR(look(path, false).st_mode); }

  static bool hidden(const fs::path &path, std::string_view pattern) {
    return path.filename().string().starts_with('.') && !pattern.starts_with('.');
  }

  void filter(const fs::path &path, const struct stat &status) {
    const std::string name = path.filename().string();
    const auto any = [&](const std::vector<std::string> &patterns) {
      return std::any_of(patterns.begin(), patterns.end(),
                         [&](const std::string &p) { return matches_name(name, p); });
    };
    if ((query_.include.empty() || any(query_.include)) && !any(query_.exclude)) add(path, status);
  }

  void add(const fs::path &path, const struct stat &status) {
    if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0)
      fail(path, std::strerror(errno));
    ++matched;
    if (!seen_.insert({status.st_dev, status.st_ino}).second) return;
    files_.push_back(
        {path, static_cast<std::uint64_t>(status.st_size),
         static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1000000000 + status.st_mtim.tv_nsec});
  }

  [[noreturn]] void fail(const fs::path &path, const std::string &why) {
    throw UserError(Exit::data, "E112", where_, path.string() + ": cannot be read: " + why,
                    "Check the permissions of the file and of the folders above it, or leave it "
                    "out by exclude.");
  }

  const FileQuery &query_;
  std::string where_, text_;
  std::vector<FoundFile> files_;
  std::set<std::pair<std::uint64_t, std::uint64_t>>
      seen_; // device and inode: the real file, hard links included

public:
  std::int64_t matched = 0;
};

} // namespace

bool matches_name(std::string_view name, std::string_view pattern) {
  // The usual two-finger match: on a mismatch go back to the last star and let it swallow one character more.
  std::size_t n = 0, p = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    std::size_t next = p + 1;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.size() &&
               (pattern[p] == '?' || (pattern[p] == '[' ? matches_class(name[n], pattern, p, next)
                                                        : pattern[p] == name[n]))) {
      p = next;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<FoundFile> find_files(const FileQuery &query, const std::string &where) {
  Search search(query, where);
  for (const std::string &path : query.paths) {
    const std::int64_t before = search.matched;
    search.run(path);
    if (search.matched == before)
      throw UserError(Exit::data, "E111", where, fmt::format("\"{}\": no file matches", path),
                      "Relative paths count from the current folder; links and names that begin "
                      "with a dot are left out, "
                      "include and exclude narrow the choice.");
  }
  std::vector<FoundFile> files = search.take();
  std::sort(files.begin(), files.end(), [](const FoundFile &a, const FoundFile &b) {
    return a.path.native() < b.path.native();
  });
  return files;
}

} // namespace data

// SPDX-License-Identifier: Apache-2.0
// docs/errors.md lists every number that the source uses, and no other, in the range of its room.
#include <filesystem>
#include <map>
#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "base/files.hpp"

namespace {

namespace fs = std::filesystem;

std::string read(const fs::path &path) { return base::read_file(path, base::Exit::fault, "E000"); }

std::set<std::string> find_all(const std::string &text, const char *pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), expression), end; it != end; ++it)
    found.insert((*it)[1]);
  return found;
}

TEST(ErrorsPage, ListsTheNumbersOfTheSource) {
  const fs::path root = HADAL_SOURCE_DIR;
  const std::string page = read(root / "docs/errors.md");
  const std::set<std::string> listed = find_all(page, R"(\n\| (E\d\d\d) \| )");
  ASSERT_GT(listed.size(), 20U);
  std::map<std::string, std::string> used; // number -> a file
  for (const auto &entry : fs::recursive_directory_iterator(root / "src")) {
    const fs::path &path = entry.path();
    if (path.extension() != ".cpp" && path.extension() != ".hpp") continue;
    for (const std::string &number : find_all(read(path), "\"(E\\d\\d\\d)\""))
      used[number] = path.lexically_relative(root).string();
  }
  for (const auto &[number, file] : used)
    EXPECT_EQ(listed.count(number), 1U) << number << " of " << file << " is not in docs/errors.md";
  for (const std::string &number : listed)
    EXPECT_EQ(used.count(number), 1U) << number << " of docs/errors.md is not in the source";
}

TEST(ErrorsPage, KeepsNumbersInOrderWithinTheirRanges) {
  const std::string page = read(fs::path(HADAL_SOURCE_DIR) / "docs/errors.md");
  const std::regex line(R"(## .*\((E\d\d\d)-(E\d\d\d)\)|\n\| (E\d\d\d) \|)");
  std::string low, high, last;
  int rows = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), line), end; it != end; ++it) {
    if ((*it)[1].matched) {
      low = (*it)[1], high = (*it)[2], last = "";
      continue;
    }
    const std::string number = (*it)[3];
    EXPECT_LE(low, number);
    EXPECT_LE(number, high);
    EXPECT_LT(last, number) << "twice, or out of order";
    last = number;
    ++rows;
  }
  EXPECT_GT(rows, 20);
}

} // namespace

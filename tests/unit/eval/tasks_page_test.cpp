// SPDX-License-Identifier: Apache-2.0
// docs/tasks.md names every key of a task file as the declarations do.
#include "deck/reference.hpp"
#include "tests/unit/eval/tools.hpp"

namespace {

TEST(TasksPage, ListsTheDeclaredKeys) {
  std::string keys = deck::reference(eval::declared_task_keys(), {"filter"});
  keys = keys.substr(keys.find("\n## ["));
  for (std::size_t at = keys.find("\n## ["); at != std::string::npos;
       at = keys.find("\n## [", at + 1))
    keys.insert(at + 1, "#"); // below the heading Keys
  std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/docs/tasks.md", std::ios::binary);
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_NE(page.find("\n## Keys\n" + keys), std::string::npos)
      << "the section Keys of docs/tasks.md is to be\n"
      << keys;
}

} // namespace

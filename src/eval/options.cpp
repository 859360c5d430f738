// SPDX-License-Identifier: Apache-2.0
#include "eval/options.hpp"

#include <algorithm>
#include <filesystem>

#include <fmt/ranges.h>

#include "base/text.hpp"

namespace eval {

namespace fs = std::filesystem;

std::string task_file(const std::string &name, const std::string &folder,
                      const std::string &where) {
  if (name.ends_with(".toml")) return name;
  const fs::path file = fs::path(folder) / (name + ".toml");
  std::error_code error;
  if (fs::is_regular_file(file, error)) return file.string();
  std::vector<std::string> names;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().extension() == ".toml") names.push_back(at->path().stem().string());
  std::sort(names.begin(), names.end());
  const std::string near = base::text::nearest(name, names);
  throw base::UserError(
      base::Exit::deck, "E300", where, name,
      names.empty() ? fmt::format("There is no task in {} (evaluate.task_folder).", folder)
                    : fmt::format("No such task in {}{} There are: {}.", folder,
                                  near.empty() ? "." : fmt::format("; did you mean {}?", near),
                                  fmt::join(names, ", ")));
}

Options read_options(deck::Deck &deck) {
  Options o;
  deck.read_table("evaluate", o);
  for (const std::string &name : o.task_names) o.tasks.push_back({name, "", -1, -1});
  for (TaskOptions &task : deck.read_list<TaskOptions>("evaluate.task"))
    o.tasks.push_back(std::move(task));
  if (o.tasks.empty())
    deck.fail("evaluate", "tasks", "E318",
              "No task is named: tasks = [\"arc\", \"gsm8k\"], or [[evaluate.task]].");
  for (TaskOptions &task : o.tasks) {
    task.file = task_file(task.file, o.task_folder, deck.where("evaluate", "tasks"));
    if (task.shots < 0) task.shots = o.shots;
    if (task.limit < 0) task.limit = o.limit;
  }
  return o;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  return {{"evaluate", deck::declare<Options>("evaluate")},
          {"evaluate.task", deck::declare<TaskOptions>("evaluate.task")}};
}

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#include "eval/questions.hpp"

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>

#include <fmt/ranges.h>

#include "base/files.hpp"
#include "data/glob.hpp"
#include "eval/draw.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json;

std::filesystem::path folder_of(const Task &task, const std::filesystem::path &data) {
  return data / (task.data.folder.empty() ? task.task.name : task.data.folder);
}

std::int64_t shots_of(const Task &task, std::int64_t asked) {
  if (!task.can_show_answers()) return 0;
  return asked < 0 ? task.task.shots : asked;
}

namespace {

std::string text_of(const std::filesystem::path &path) {
  return base::read_file(path, Exit::data, "E301", std::size_t{1} << 32);
}

std::vector<std::filesystem::path> found(const Task &task, const std::filesystem::path &folder,
                                         const std::vector<std::string> &files) {
  data::FileQuery query;
  for (const std::string &file : files) query.paths.push_back((folder / file).string());
  std::vector<std::filesystem::path> paths;
  try {
    for (const data::FoundFile &one : data::find_files(query, task.file)) paths.push_back(one.path);
  } catch (const UserError &error) {
    throw UserError(Exit::data, "E301", task.file,
                    fmt::format("files {}", fmt::join(query.paths, ", ")),
                    fmt::format("They are not there or cannot be read ({}). Copy the data of {} to "
                                "{}, or point evaluate.data (or the task's data) at it.",
                                error.number(), task.task.name, folder.string()));
  }
  return paths;
}

} // namespace

Records read_rows(const Task &task, const std::filesystem::path &folder,
                  const std::vector<std::string> &files, const std::string &labels) {
  Records all;
  for (const auto &path : found(task, folder, files)) {
    const std::string text = text_of(path), name = path.string();
    Records rows;
    switch (task.data.reader) {
    case Layout::csv: rows = read_csv(text, name, {task.data.header, task.data.columns}); break;
    case Layout::jsonl: rows = read_jsonl(text, name); break;
    case Layout::json: rows = read_json(text, name, task.data.rows); break;
    case Layout::text: rows = read_text(text, name); break;
    }
    std::move(rows.begin(), rows.end(), std::back_inserter(all));
  }
  if (all.empty())
    throw UserError(Exit::data, "E304", folder.string(),
                    fmt::format("files {} hold no row", fmt::join(files, ", ")),
                    fmt::format("{} has nothing to ask.", task.task.name));
  if (!labels.empty()) {
    const auto path = folder / labels;
    join_labels(all, text_of(path), path.string());
  }
  return all;
}

namespace {

// What the row itself says, before prompts are made of it.
struct Item {
  std::vector<std::string> texts, letters;
  std::size_t gold = 0;
  std::string answer; // as it stands behind an example's question
  std::vector<std::string> golds;
};

std::string letter(std::size_t index) {
  return index < 26 ? std::string(1, static_cast<char>('A' + index)) : fmt::format("{}", index + 1);
}

const Json &array_at(const Record &record, const std::string &path, const Task &task) {
  const Json *value = field(record.row, path);
  if (value == nullptr) missing_field(record, path, task.file);
  if (value->as<Json::Array>() == nullptr)
    throw UserError(Exit::data, "E305", record.place, fmt::format("{} is {}", path, value->kind()),
                    fmt::format("{} wants an array there.", task.file));
  return *value;
}

std::string text_at(const Record &record, const Json &value, const std::string &member,
                    const Task &task) {
  const Json *at = member.empty() ? &value : field(value, member);
  std::string text;
  if (at == nullptr || !scalar_text(*at, text))
    throw UserError(Exit::data, "E305", record.place,
                    fmt::format("a choice is {}", at == nullptr ? value.kind() : at->kind()),
                    fmt::format("{} wants a text{}.", task.file,
                                member.empty() ? "" : fmt::format(" as its member {}", member)));
  return text;
}

void read_choices(const Task &task, const Record &record, Item &item) {
  for (const Template &text : task.choice_texts) {
    std::string one = text.render(record);
    if (one.empty()) continue;
    item.texts.push_back(std::move(one));
    item.letters.push_back(letter(item.letters.size()));
  }
  if (!task.choices.list.empty()) {
    for (const Json &one : *array_at(record, task.choices.list, task).as<Json::Array>()) {
      item.texts.push_back(text_at(record, one, task.choices.text, task));
      item.letters.push_back(task.choices.label.empty()
                                 ? letter(item.letters.size())
                                 : text_at(record, one, task.choices.label, task));
    }
  }
  if (!task.choices.labels.empty()) {
    const auto &labels = *array_at(record, task.choices.labels, task).as<Json::Array>();
    if (labels.size() != item.texts.size())
      throw UserError(Exit::data, "E306", record.place, fmt::format("{} labels", labels.size()),
                      fmt::format("There are {} choices.", item.texts.size()));
    for (std::size_t i = 0; i < labels.size(); ++i)
      item.letters[i] = text_at(record, labels[i], "", task);
  }
  if (item.texts.size() < 2)
    throw UserError(Exit::data, "E306", record.place, fmt::format("{} choices", item.texts.size()),
                    "Two at least are needed.");
}

std::size_t gold_of(const Task &task, const Record &record, const Item &item) {
  const std::string value = trimmed(task.value.render(record));
  const std::size_t n = item.texts.size();
  std::size_t gold = n;
  if (task.answer.is == AnswerIs::index || task.answer.is == AnswerIs::index1) {
    std::int64_t number = -1;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    const std::int64_t first = task.answer.is == AnswerIs::index1 ? 1 : 0;
    if (error == std::errc() && end == value.data() + value.size() && number >= first &&
        number - first < static_cast<std::int64_t>(n))
      gold = static_cast<std::size_t>(number - first);
  } else {
    for (std::size_t i = 0; i < n && gold == n; ++i) {
      const std::string one = task.answer.is == AnswerIs::letter  ? letter(i)
                              : task.answer.is == AnswerIs::label ? item.letters[i]
                                                                  : trimmed(item.texts[i]);
      if (one == value) gold = i;
    }
  }
  if (gold < n) return gold;
  throw UserError(Exit::data, "E306", record.place,
                  fmt::format("the answer {}", data::shown(value)),
                  fmt::format("It is none of the {} choices ({}; see answer.is in {}).", n,
                              task.answer.is == AnswerIs::text
                                  ? fmt::format("{}", fmt::join(item.texts, " / "))
                                  : fmt::format("{}", fmt::join(item.letters, ", ")),
                              task.file));
}

// Order of the choices, drawn for the row: Fisher and Yates.
void shuffle(Item &item, std::uint64_t seed, const std::string &place_in_task) {
  std::vector<std::size_t> order(item.texts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = order.size() - 1; i > 0; --i)
    std::swap(order[i], order[draw(seed, place_in_task, i) % (i + 1)]);
  std::vector<std::string> texts;
  std::size_t gold = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    texts.push_back(item.texts[order[i]]);
    if (order[i] == item.gold) gold = i;
  }
  item.texts = std::move(texts), item.gold = gold; // letters stay where they are
}

void free_answers(const Task &task, const Record &record, Item &item) {
  if (!task.answer.list.empty())
    for (const Json &one : *array_at(record, task.answer.list, task).as<Json::Array>())
      item.golds.push_back(text_at(record, one, "", task));
  if (!task.value.empty()) {
    item.answer = task.value.render(record);
    if (std::find(item.golds.begin(), item.golds.end(), item.answer) == item.golds.end())
      item.golds.insert(item.golds.begin(), item.answer);
  }
  if (item.answer.empty() && !item.golds.empty()) item.answer = item.golds[0];
}

Item read_item(const Task &task, const Record &record, std::uint64_t seed, const std::string &key) {
  Item item;
  if (!task.has_choices()) {
    free_answers(task, record, item);
    return item;
  }
  read_choices(task, record, item);
  item.gold = gold_of(task, record, item);
  if (task.choices.shuffle) shuffle(item, seed, key);
  item.golds = {item.letters[item.gold]};
  item.answer = item.letters[item.gold];
  return item;
}

Extras extras(const Task &task, const Record &record, const Item &item, std::size_t chosen) {
  Extras all = {{"answer_text", item.answer}};
  if (item.texts.empty()) return all;
  std::string lines;
  for (std::size_t i = 0; i < item.texts.size(); ++i)
    lines +=
        task.choice_line.render(record, {{"letter", item.letters[i]}, {"choice", item.texts[i]}});
  all.emplace_back("choices", lines);
  all.emplace_back("letters", fmt::format("{}", fmt::join(item.letters, ", ")));
  all.emplace_back("letter", item.letters[chosen]);
  all.emplace_back("choice", item.texts[chosen]);
  return all;
}

std::string continuation(const Task &task, const Record &record, const Item &item,
                         const Extras &with) {
  if (!task.continuation.empty()) return task.continuation.render(record, with);
  return " " + (item.texts.empty() ? item.answer : with.back().second);
}

// The choice as text where that is asked, the letter where answers are letters.
std::string example(const Task &task, const Record &record, const Item &item) {
  const Extras with = extras(task, record, item, item.gold);
  return task.context.render(record, with) + continuation(task, record, item, with);
}

// Stable under other folders: the file's name and the line.
std::string key_of(const Task &task, const Record &record) {
  std::string file, line;
  scalar_text(*field(record.row, "file"), file);
  scalar_text(*field(record.row, "line"), line);
  return task.task.name + "/" + file + "/" + line;
}

struct Pool {
  const Records *records;
  std::map<std::string, std::vector<std::size_t>> groups;
};

std::vector<std::size_t> pick(const Task &task, const Pool &pool, const std::string &group,
                              std::size_t self, std::size_t shots, const Asking &asking,
                              const Record &asked) {
  std::vector<std::size_t> all;
  if (const auto at = pool.groups.find(group); at != pool.groups.end()) all = at->second;
  std::erase(all, self);
  if (all.size() < shots)
    throw UserError(Exit::data, "E315", asked.place, fmt::format("{} examples", all.size()),
                    fmt::format("{} asks for {} of the group {}. Give evaluate.shots a smaller "
                                "number, or more examples.",
                                task.task.name, shots, data::shown(group)));
  if (task.prompt.pick == Pick::random)
    for (std::size_t i = 0; i < shots; ++i) // the first draws of a shuffle
      std::swap(all[i],
                all[i + draw(asking.seed, "shots/" + key_of(task, asked), i) % (all.size() - i)]);
  all.resize(shots);
  return all;
}

Question ask(const Task &task, const Record &record, const Item &item, const std::string &before) {
  Question q;
  q.record = record, q.place = record.place;
  q.choices = item.texts, q.letters = item.letters, q.gold = item.gold, q.golds = item.golds;
  const bool each = task.context.mentions("choice");
  const std::size_t n = task.task.kind == Kind::choice ? item.texts.size() : 1;
  for (std::size_t i = 0; i < n; ++i) {
    const Extras with = extras(task, record, item, item.texts.empty() ? 0 : i);
    if (i == 0 || each) q.contexts.push_back(before + task.context.render(record, with));
    if (task.task.kind == Kind::choice)
      q.continuations.push_back(continuation(task, record, item, with));
  }
  return q;
}

// Questions that are their own examples may have them of any group, unless the task says which.
bool examples_by_group(const Task &task) {
  return !task.data.shots.empty() || !task.data.shot_group.empty();
}

Pool make_pool(const Task &task, const Records &records) {
  Pool pool{&records, {}};
  for (std::size_t i = 0; i < records.size(); ++i)
    pool.groups[examples_by_group(task) ? task.shot_group.render(records[i]) : ""].push_back(i);
  return pool;
}

} // namespace

std::vector<Question> make_questions(const Task &task, const Asking &asking) {
  const auto folder = folder_of(task, asking.data);
  const Records rows = read_rows(task, folder, task.data.files, task.data.labels);
  const auto shots = static_cast<std::size_t>(shots_of(task, asking.shots));
  const bool own = task.data.shots.empty();
  Records others;
  if (!own && shots > 0) others = read_rows(task, folder, task.data.shots, "");
  const Records &examples = own ? rows : others;
  const Pool pool = shots > 0 ? make_pool(task, examples) : Pool{};
  std::map<std::string, std::int64_t> asked;
  std::vector<Question> questions;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string group = task.group.render(rows[i]);
    if (asking.limit > 0 && asked[group]++ >= asking.limit) continue;
    if (task.task.kind == Kind::text) {
      questions.emplace_back();
      questions.back().record = rows[i], questions.back().place = rows[i].place;
      questions.back().group = group;
      continue;
    }
    const Item item = read_item(task, rows[i], asking.seed, key_of(task, rows[i]));
    std::string before = task.description.render(rows[i], extras(task, rows[i], item, item.gold));
    const std::size_t self = own ? i : examples.size();
    for (const std::size_t shot : shots == 0
                                      ? std::vector<std::size_t>{}
                                      : pick(task, pool, examples_by_group(task) ? group : "", self,
                                             shots, asking, rows[i])) {
      const Record &record = examples[shot];
      before += example(task, record, read_item(task, record, asking.seed, key_of(task, record))) +
                task.prompt.separator;
    }
    questions.push_back(ask(task, rows[i], item, before));
    questions.back().group = group;
  }
  return questions;
}

} // namespace eval

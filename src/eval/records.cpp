// SPDX-License-Identifier: Apache-2.0
#include "eval/records.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/unicode.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json;

namespace {

[[noreturn]] void fail(const char *number, const std::string &place, const std::string &read,
                       const std::string &advice) {
  throw UserError(Exit::data, number, place, read, advice);
}

// Without the mark that some editors put before UTF-8.
std::string_view checked(std::string_view text, const std::string &name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::size_t bad = data::unicode::first_invalid(text);
  if (bad != data::unicode::kValid) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<long>(bad), '\n');
    fail("E317", fmt::format("{}:{}", name, line), data::shown(text.substr(bad, 4)),
         "The file is not UTF-8. Convert it (iconv).");
  }
  return text;
}

void add_file(Record &record, const std::string &name, std::int64_t line) {
  auto &members = std::get<Json::Object>(record.row.value);
  const auto add = [&](const char *key, Json value) {
    if (record.row.find(key) == nullptr) members.emplace_back(key, std::move(value));
  };
  add("file", Json{std::filesystem::path(name).stem().string()});
  add("line", Json{line});
}

// One row of cells, from `at` on; `line` moves on with it.
std::vector<std::string> csv_row(std::string_view text, std::size_t &at, std::int64_t &line,
                                 const std::string &name) {
  std::vector<std::string> cells(1);
  const std::int64_t begin = line;
  for (bool quoted = false;; ++at) {
    if (at == text.size()) {
      if (!quoted) return cells;
      fail("E302", fmt::format("{}:{}", name, begin), data::shown(cells.back(), 40),
           "A quote is opened in this row and never closed. Inside a quoted cell a quote is "
           "written twice.");
    }
    const char c = text[at];
    line += c == '\n' ? 1 : 0;
    if (quoted) {
      if (c != '"')
        cells.back() += c;
      else if (at + 1 < text.size() && text[at + 1] == '"')
        cells.back() += text[++at];
      else
        quoted = false;
    } else if (c == '"' && cells.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      cells.emplace_back();
    } else if (c == '\n' || c == '\r') {
      if (c == '\r' && at + 1 < text.size() && text[at + 1] == '\n') ++at, ++line;
      ++at;
      return cells;
    } else {
      cells.back() += c;
    }
  }
}

void check_columns(const std::vector<std::string> &columns, const CsvLayout &layout,
                   const std::string &place) {
  for (std::size_t i = 0; i < columns.size(); ++i)
    if (std::find(columns.begin(), columns.begin() + static_cast<long>(i), columns[i]) !=
        columns.begin() + static_cast<long>(i))
      fail("E302", place, columns[i], "This column stands twice in the header.");
  for (const std::string &wanted : layout.columns)
    if (std::find(columns.begin(), columns.end(), wanted) == columns.end()) {
      const std::string near = base::text::nearest(wanted, columns);
      fail("E302", place, fmt::format("columns {}", fmt::join(columns, ", ")),
           fmt::format("The column {} is missing{}", wanted,
                       near.empty() ? "." : fmt::format("; is {} meant?", near)));
    }
}

} // namespace

Records read_csv(std::string_view text, const std::string &name, const CsvLayout &layout) {
  text = checked(text, name);
  std::size_t at = 0;
  std::int64_t line = 1;
  std::vector<std::string> columns = layout.columns;
  if (layout.header && !text.empty()) {
    columns = csv_row(text, at, line, name);
    check_columns(columns, layout, name + ":1");
  }
  Records records;
  while (at < text.size()) {
    const std::int64_t begin = line;
    const std::vector<std::string> cells = csv_row(text, at, line, name);
    if (cells.size() == 1 && cells[0].empty()) continue; // an empty line
    const std::string place = fmt::format("{}:{}", name, begin);
    if (cells.size() != columns.size())
      fail("E302", place, fmt::format("{} cells", cells.size()),
           fmt::format("{} are wanted: {}.", columns.size(), fmt::join(columns, ", ")));
    Json::Object row;
    for (std::size_t i = 0; i < cells.size(); ++i) row.emplace_back(columns[i], Json{cells[i]});
    records.push_back({Json{std::move(row)}, place});
    add_file(records.back(), name, begin);
  }
  return records;
}

Records read_jsonl(std::string_view text, const std::string &name) {
  text = checked(text, name);
  Records records;
  std::int64_t line = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string place = fmt::format("{}:{}", name, line);
    try {
      records.push_back({Json::parse(one), place});
    } catch (const data::JsonError &error) {
      fail("E303", place, error.what(), "Each line is one JSON object.");
    }
    if (records.back().row.as<Json::Object>() == nullptr)
      fail("E303", place, records.back().row.kind(), "Each line is one JSON object.");
    add_file(records.back(), name, line);
  }
  return records;
}

namespace {

// What the objects on the way have given so far, with the members of one more laid over it.
Json merged(const Json &outer, const Json &inner, std::string_view without) {
  Json out = outer;
  auto &members = std::get<Json::Object>(out.value);
  for (const auto &[key, value] : *inner.as<Json::Object>()) {
    if (key == without) continue;
    const auto found = std::find_if(members.begin(), members.end(),
                                    [&key = key](const auto &m) { return m.first == key; });
    if (found == members.end())
      members.emplace_back(key, value);
    else
      found->second = value;
  }
  return out;
}

struct Walk {
  const std::string &name;
  const std::string &rows;
  Records &out;

  void every(const Json &node, const Json &seen, std::string_view rest) {
    if (const auto *array = node.as<Json::Array>()) {
      for (const Json &item : *array) go(item, seen, rest);
    } else if (const auto *object = node.as<Json::Object>()) {
      for (const auto &[key, value] : *object) {
        const Json with_key{Json::Object{{"key", Json{key}}}};
        go(value, merged(seen, with_key, ""), rest);
      }
    } else {
      wrong(node, "an array or an object");
    }
  }
  void go(const Json &node, const Json &seen, std::string_view path) {
    if (path.empty()) {
      if (node.as<Json::Object>() == nullptr) wrong(node, "an object");
      const auto line = static_cast<std::int64_t>(out.size()) + 1;
      out.push_back({merged(seen, node, ""), fmt::format("{}: row {}", name, line)});
      add_file(out.back(), name, line);
      return;
    }
    const std::size_t dot = std::min(path.find('.'), path.size());
    const std::string_view head = path.substr(0, dot);
    const std::string_view rest = path.substr(std::min(dot + 1, path.size()));
    if (head == "*") return every(node, seen, rest);
    const Json *next = node.find(head);
    if (next == nullptr)
      fail("E303", name, node.kind(),
           fmt::format("The rows are looked for at \"{}\"; there is no member {}.", rows, head));
    go(*next, merged(seen, node, head), rest);
  }
  [[noreturn]] void wrong(const Json &node, const char *wanted) const {
    fail("E303", fmt::format("{}: row {}", name, out.size() + 1), node.kind(),
         fmt::format("{} is wanted (rows at \"{}\").", wanted, rows));
  }
};

} // namespace

Records read_json(std::string_view text, const std::string &name, const std::string &rows) {
  text = checked(text, name);
  Json root;
  try {
    root = Json::parse(text);
  } catch (const data::JsonError &error) {
    fail("E303", name, error.what(), "The file is to be one JSON document.");
  }
  Records records;
  const bool array = rows.empty() && root.as<Json::Array>() != nullptr;
  Walk{name, rows, records}.go(root, Json{Json::Object{}}, array ? std::string("*") : rows);
  return records;
}

Records read_text(std::string_view text, const std::string &name) {
  text = checked(text, name);
  Records records;
  if (text.empty()) return records;
  records.push_back({Json{Json::Object{{"text", Json{std::string(text)}}}}, name + ":1"});
  add_file(records.back(), name, 1);
  return records;
}

void join_labels(Records &records, std::string_view text, const std::string &name) {
  text = checked(text, name);
  std::vector<std::string> labels;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view one = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (one.ends_with('\r')) one.remove_suffix(1);
    if (!one.empty()) labels.emplace_back(one);
  }
  if (labels.size() != records.size())
    fail("E309", name, fmt::format("{} labels", labels.size()),
         fmt::format("There are {} rows; each needs its line.", records.size()));
  for (std::size_t i = 0; i < records.size(); ++i)
    std::get<Json::Object>(records[i].row.value).emplace_back("label", Json{labels[i]});
}

void write_line(std::string &out, const Json &value) {
  std::string text;
  if (const auto *array = value.as<Json::Array>()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ", ";
      write_line(out, (*array)[i]);
    }
    out += ']';
  } else if (const auto *object = value.as<Json::Object>()) {
    out += '{';
    for (std::size_t i = 0; i < object->size(); ++i) {
      if (i > 0) out += ", ";
      data::write_json_string(out, (*object)[i].first);
      out += ": ";
      write_line(out, (*object)[i].second);
    }
    out += '}';
  } else if (const auto *string = value.as<std::string>()) {
    data::write_json_string(out, *string);
  } else if (value.is_null()) {
    out += "null";
  } else if (const auto *real = value.as<double>(); real && !std::isfinite(*real)) {
    out += "null"; // JSON has no other
  } else {
    scalar_text(value, text);
    out += text;
  }
}

} // namespace eval

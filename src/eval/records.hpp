// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of the published benchmark files: CSV (RFC 4180: quotes, commas and line breaks inside cells), JSONL, JSON, plain text.
// Whatever the layout, a row is one JSON object, to which `file` (the file's name without folder and ending) and `line` are added.
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/json.hpp"
#include "reward/fields.hpp"

namespace eval {

struct Record {
  data::Json row;    // an object
  std::string place; // "file:line" for messages; of a JSON file "file: row 3"
};
using Records = std::vector<Record>;

struct CsvLayout {
  bool header = true;               // the first row names the columns
  std::vector<std::string> columns; // names where the file has none; with a header: must be there
};

// Errors, all with file and line: E302 (a quote that is never closed, a row of another number of cells, a column that is missing or
// twice), E303 (no JSON, no object), E317 (not UTF-8). name: for messages and for `file`.
Records read_csv(std::string_view text, const std::string &name, const CsvLayout &layout);
Records read_jsonl(std::string_view text, const std::string &name);
// rows: where the rows lie, names joined by dots, * for every element of an array or member of an object: "Data.*",
// "*.qa_pairs.*". Members of the objects on the way belong to the row too (the inner one wins); the name behind * is `key`. "": the
// file is one row, or an array of rows.
Records read_json(std::string_view text, const std::string &name, const std::string &rows);
// The whole file as one row with the field `text`.
Records read_text(std::string_view text, const std::string &name);
// One label a line, joined as the field `label` to the rows in order. Error E309: another number of lines than rows.
void join_labels(Records &records, std::string_view text, const std::string &name);

using reward::field, reward::scalar_text;
// JSON on one line.
void write_line(std::string &out, const data::Json &value);

} // namespace eval

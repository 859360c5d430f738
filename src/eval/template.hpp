// SPDX-License-Identifier: Apache-2.0
#pragma once
// Texts of a task with places for fields of a row: "Question: {{question | trim}}\nAnswer:". A place is a dotted path, perhaps
// with ? ("" where the field is missing), and filters in order:
//   trim  lower  upper  capitalize  first_line  boxed (what stands in the last \boxed{})
//   before:X  after:X  after_last:X (the text itself where X does not stand in it)  replace:X=>Y  cut:[] (what stands between [ and ])
//   join:X (an array; else arrays are joined by ", ")  json (a text that is JSON: the value; an array or object: its text)
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eval/records.hpp"
#include "reward/extract.hpp"

namespace eval {

// Values beside those of the row, which they hide: choice, letter, choices ...
using Extras = std::vector<std::pair<std::string, std::string>>;

class Template {
public:
  Template() = default;
  // where: "file:line" of the key. Error E308: braces that do not match, a filter that does not exist.
  Template(std::string text, std::string where);
  // Error E305: the row has no such field, or an array or object stands where a text is wanted.
  std::string render(const Record &record, const Extras &extras = {}) const;
  bool empty() const { return pieces_.empty(); }
  const std::string &text() const { return text_; }
  bool mentions(std::string_view name) const; // is there a place {{name}}?

private:
  struct Filter {
    std::string name, argument;
  };
  struct Piece {
    std::string literal, path;
    bool optional = false;
    std::vector<Filter> filters;
  };
  Piece parse_place(std::string_view inside) const;
  std::string value(const Piece &piece, const Record &record, const Extras &extras) const;

  std::string text_, where_;
  std::vector<Piece> pieces_;
};

// E305 for a field that is not there: names the nearest and lists all.
[[noreturn]] void missing_field(const Record &record, std::string_view path,
                                const std::string &wanted_by);
using reward::last_boxed, reward::trimmed;

} // namespace eval

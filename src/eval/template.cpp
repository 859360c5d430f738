// SPDX-License-Identifier: Apache-2.0
#include "eval/template.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json;

namespace {

const std::vector<std::string> kFilters = {"trim",  "lower",  "upper", "capitalize", "first_line",
                                           "boxed", "before", "after", "after_last", "replace",
                                           "cut",   "join",   "json"};

std::string lower(std::string text) {
  for (char &c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}
std::string upper(std::string text) {
  for (char &c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

std::string replaced(std::string text, const std::string &argument) {
  const std::size_t arrow = argument.find("=>");
  const std::string from = argument.substr(0, arrow), to = argument.substr(arrow + 2);
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  return text;
}

std::string cut(const std::string &text, char open, char close) {
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const std::size_t end = text[at] == open ? text.find(close, at) : std::string::npos;
    if (end == std::string::npos)
      out += text[at];
    else
      at = end;
  }
  return out;
}

std::string filtered(const std::string &name, const std::string &argument, std::string text) {
  if (name == "trim") return trimmed(text);
  if (name == "lower") return lower(std::move(text));
  if (name == "upper") return upper(std::move(text));
  if (name == "capitalize") {
    text = lower(std::move(text));
    if (!text.empty()) text[0] = upper(text.substr(0, 1))[0];
    return text;
  }
  if (name == "first_line") return text.substr(0, text.find('\n'));
  if (name == "replace") return replaced(std::move(text), argument);
  if (name == "cut") return cut(text, argument[0], argument[1]);
  if (name == "boxed") return last_boxed(text, text) ? text : std::string();
  if (name == "before") return text.substr(0, text.find(argument));
  if (name == "after" || name == "after_last") {
    const std::size_t at = name == "after" ? text.find(argument) : text.rfind(argument);
    return at == std::string::npos ? text : text.substr(at + argument.size());
  }
  HADAL_CHECK(false, "filter {}", name);
  return text;
}

// Filters that need another argument than they have: "" or what is wrong.
std::string argument_fault(const std::string &name, const std::string &argument) {
  if ((name == "before" || name == "after" || name == "after_last") && argument.empty())
    return name + " needs a text: " + name + ":X.";
  if (name == "replace" && (argument.find("=>") == std::string::npos || argument.starts_with("=>")))
    return "replace is written replace:X=>Y.";
  if (name == "cut" && argument.size() != 2) return "cut is written cut:[] with two characters.";
  return {};
}

} // namespace

Template::Template(std::string text, std::string where)
    : text_(std::move(text)), where_(std::move(where)) {
  std::string_view rest = text_;
  while (!rest.empty()) {
    const std::size_t open = std::min(rest.find("{{"), rest.size());
    if (open > 0) pieces_.push_back({std::string(rest.substr(0, open)), "", false, {}});
    rest.remove_prefix(open);
    if (rest.empty()) return;
    const std::size_t close = rest.find("}}");
    if (close == std::string_view::npos)
      throw UserError(Exit::deck, "E308", where_, data::shown(rest, 40),
                      "{{ is opened and never closed by }}.");
    pieces_.push_back(parse_place(rest.substr(2, close - 2)));
    rest.remove_prefix(close + 2);
  }
}

Template::Piece Template::parse_place(std::string_view inside) const {
  Piece piece;
  std::vector<std::string> parts(1);
  for (const char c : inside)
    if (c == '|')
      parts.emplace_back();
    else
      parts.back() += c;
  piece.path = trimmed(parts[0]);
  piece.optional = piece.path.ends_with('?');
  if (piece.optional) piece.path.pop_back();
  const auto bad = [&](const std::string &why) {
    throw UserError(Exit::deck, "E308", where_, fmt::format("{{{{{}}}}}", inside), why);
  };
  if (piece.path.empty()) bad("The name of a field is missing.");
  for (std::size_t i = 1; i < parts.size(); ++i) {
    std::string part = parts[i].substr(std::min(parts[i].find_first_not_of(' '), parts[i].size()));
    Filter filter;
    const std::size_t colon = part.find(':');
    filter.name = trimmed(part.substr(0, colon));
    if (colon != std::string::npos) filter.argument = part.substr(colon + 1);
    if (std::find(kFilters.begin(), kFilters.end(), filter.name) == kFilters.end()) {
      const std::string near = base::text::nearest(filter.name, kFilters);
      bad(fmt::format("{} is no filter{} There are: {}.", filter.name,
                      near.empty() ? "." : fmt::format("; did you mean {}?", near),
                      fmt::join(kFilters, ", ")));
    }
    if (const std::string fault = argument_fault(filter.name, filter.argument); !fault.empty())
      bad(fault);
    piece.filters.push_back(std::move(filter));
  }
  return piece;
}

void missing_field(const Record &record, std::string_view path, const std::string &wanted_by) {
  std::vector<std::string> names;
  for (const auto &member : *record.row.as<Json::Object>()) names.push_back(member.first);
  const std::string head(path.substr(0, path.find('.')));
  const std::string near = base::text::nearest(head, names);
  throw UserError(
      Exit::data, "E305", record.place, fmt::format("fields {}", fmt::join(names, ", ")),
      fmt::format("There is no {}, which {} wants{}", path, wanted_by,
                  near.empty() || near == head ? "." : fmt::format("; is {} meant?", near)));
}

namespace {

std::string joined(const Json &value, const std::string &between, const Record &record,
                   const std::string &path, const std::string &where) {
  std::string out;
  const auto *array = value.as<Json::Array>();
  if (array == nullptr) {
    if (scalar_text(value, out)) return out;
    throw UserError(
        Exit::data, "E305", record.place, fmt::format("{} is {}", path, value.kind()),
        fmt::format("{} wants a text. Take a member of it, or the filter json.", where));
  }
  for (std::size_t i = 0; i < array->size(); ++i)
    out += (i > 0 ? between : "") + joined((*array)[i], between, record, path, where);
  return out;
}

} // namespace

std::string Template::value(const Piece &piece, const Record &record, const Extras &extras) const {
  Json value;
  const auto extra = std::find_if(extras.begin(), extras.end(),
                                  [&](const auto &pair) { return pair.first == piece.path; });
  if (extra != extras.end()) {
    value = Json{extra->second};
  } else if (const Json *found = field(record.row, piece.path)) {
    value = *found;
  } else {
    if (piece.optional) return {};
    missing_field(record, piece.path, where_);
  }
  for (const Filter &filter : piece.filters) {
    if (filter.name == "json") {
      if (const auto *text = value.as<std::string>()) try {
          value = Json::parse(*text);
        } catch (const data::JsonError &error) {
          throw UserError(Exit::data, "E303", record.place,
                          fmt::format("{}: {}", piece.path, error.what()), "JSON is wanted.");
        }
      else {
        std::string text_of;
        write_line(text_of, value);
        value = Json{text_of};
      }
      continue;
    }
    const bool join = filter.name == "join";
    std::string text = joined(value, join ? filter.argument : ", ", record, piece.path, where_);
    value = Json{join ? text : filtered(filter.name, filter.argument, std::move(text))};
  }
  return joined(value, ", ", record, piece.path, where_);
}

std::string Template::render(const Record &record, const Extras &extras) const {
  std::string out;
  for (const Piece &piece : pieces_)
    out += piece.path.empty() ? piece.literal : value(piece, record, extras);
  return out;
}

bool Template::mentions(std::string_view name) const {
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [&](const Piece &piece) { return piece.path == name; });
}

} // namespace eval

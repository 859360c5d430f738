// SPDX-License-Identifier: Apache-2.0
#include "deck/document.hpp"

#include <algorithm>
#include <sstream>
#include <stdexcept>

// The TOML library is compiled here, with its assertions as exceptions: malformed text reaches one
// of them (3.3: a value that begins with a terminator) and must end as an error of the deck.
#undef NDEBUG
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ASSERT(condition) ((condition) ? void() : throw std::domain_error(#condition))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wterminate"
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include "base/text.hpp"
#include "deck/letters.hpp"

namespace deck {
namespace {

using base::Exit;
using base::UserError;

// Dotted keys nest without limit in the TOML library, and taking down a deep tree would end the
// stack.
constexpr int kMostDots = 16, kMostDepth = 40;

[[noreturn]] void syntax_error(int line, const std::string &why) { throw SyntaxError{line, why}; }

std::string line_of(std::string_view text, int line) {
  for (; line > 1 && !text.empty(); --line) {
    const std::size_t end = text.find('\n');
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  std::string shown;
  for (const char c : text.substr(0, std::min(text.find('\n'), std::size_t{200}))) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? '?' : c;
  }
  shown.erase(shown.find_last_not_of(' ') + 1);
  return base::text::valid_utf8(shown) ? shorten(shown) : "(bytes that are not text)";
}

// Faults that are found before the TOML library sees the text.
void check_text(std::string_view text) {
  int line = 1, dots = 0;
  std::size_t begin = 0;
  char quote = 0; // inside a string of one line, or a comment ('#')
  for (std::size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : '\n';
    if (c == '\0') syntax_error(line, "A deck is UTF-8 text; this file holds zero bytes.");
    if (c == '\n') {
      if (!base::text::valid_utf8(text.substr(begin, i - begin)))
        syntax_error(line, "A deck is UTF-8 text; these bytes are not.");
      begin = i + 1;
      ++line;
      dots = quote = 0;
    } else if (quote != 0) {
      if (quote == '"' && c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') ++i;
      if (c == quote && quote != '#') quote = 0;
    } else if (c == '"' || c == '\'' || c == '#') {
      quote = c;
    } else if (c == '.' && ++dots > kMostDots) {
      syntax_error(line,
                   fmt::format("More than {} dots in a row: tables are not this deep.", kMostDots));
    } else if (std::string_view("=,{[").find(c) != std::string_view::npos) {
      dots = 0;
    }
  }
}

// The library's assertions tell no place: the first line whose end makes it fail so.
int malformed_line(std::string_view text) {
  const auto fails = [](std::string_view part) {
    try {
      (void)toml::parse(part);
    } catch (const std::domain_error &) {
      return true;
    } catch (const toml::parse_error &) {
    }
    return false;
  };
  std::vector<std::size_t> ends;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '\n') ends.push_back(i + 1);
  const auto first = std::partition_point(
      ends.begin(), ends.end(), [&](std::size_t end) { return !fails(text.substr(0, end)); });
  return static_cast<int>(first - ends.begin()) + 1;
}

// What the library gives, as our tree.
struct Source {
  const Letters &letters;
  const std::string &name;
  Origin origin;
};

Node convert(const toml::node &from, const Source &source, int depth = 0) {
  if (depth > kMostDepth)
    throw SyntaxError{static_cast<int>(from.source().begin.line),
                      fmt::format("More than {} levels: a deck is not this deep.", kMostDepth)};
  Node node;
  node.origin = source.origin;
  node.file = source.name;
  node.line = static_cast<int>(from.source().begin.line);
  if (const toml::table *table = from.as_table()) {
    for (const auto &[key, value] : *table) {
      Node member = convert(value, source, depth + 1);
      member.line = static_cast<int>(key.source().begin.line);
      node.members.push_back({source.letters.show(key.str()), std::move(member)});
    }
    std::stable_sort(node.members.begin(), node.members.end(),
                     [](const auto &a, const auto &b) { return a.value.line < b.value.line; });
  } else if (const toml::array *list = from.as_array()) {
    node.kind = Kind::list;
    for (const toml::node &item : *list) node.items.push_back(convert(item, source, depth + 1));
  } else if (const auto *text = from.as_string()) {
    node.kind = Kind::text;
    node.text = source.letters.show(text->get());
  } else if (const auto *integer = from.as_integer()) {
    node.kind = Kind::integer;
    node.integer = integer->get();
  } else if (const auto *real = from.as_floating_point()) {
    node.kind = Kind::real;
    node.real = real->get();
  } else if (const auto *boolean = from.as_boolean()) {
    node.kind = Kind::boolean;
    node.boolean = boolean->get();
  } else {
    node.kind = Kind::date;
    std::ostringstream text;
    text << toml::node_view<const toml::node>(from);
    node.text = text.str();
  }
  return node;
}

} // namespace

Node parse_tree(std::string_view text, const std::string &name, Origin origin) {
  check_text(text);
  Letters letters;
  const std::optional<std::string> hidden = letters.hide(text);
  if (!hidden)
    syntax_error(1,
                 "More than 65,000 different letters, or letters of plane 16: this is not a deck.");
  try {
    return convert(toml::parse(*hidden), {letters, name, origin});
  } catch (const toml::parse_error &error) {
    const std::string why = letters.show(error.description());
    throw SyntaxError{std::max(1, static_cast<int>(error.source().begin.line)),
                      fmt::format("{} (column {}).", why, error.source().begin.column),
                      why.find("redefine") != std::string::npos};
  } catch (const std::domain_error &) {
    syntax_error(malformed_line(*hidden), "A value of this line is malformed.");
  }
}

Node parse_document(std::string_view text, const std::string &name, Origin origin) {
  if (text.substr(0, 3) == "\xEF\xBB\xBF") text.remove_prefix(3); // byte order mark
  if (text.size() > kMostDeckBytes)
    throw UserError(Exit::deck, "E001", name, "is too large", "A deck has at most 1 MiB.");
  try {
    return parse_tree(text, name, origin);
  } catch (const SyntaxError &error) {
    const std::string advice =
        error.repeated ? "This key or table was given before; keep one of the two.\n" : "";
    throw UserError(Exit::deck, error.repeated ? "E003" : "E002",
                    fmt::format("{}:{}", name, error.line), line_of(text, error.line),
                    advice + error.why);
  }
}

} // namespace deck

// SPDX-License-Identifier: Apache-2.0
#include "eval/instruction_checks.hpp"

#include <algorithm>
#include <cctype>

#include <fmt/ranges.h>

#include "eval/answers.hpp"
#include "eval/template.hpp"

namespace eval {

using data::Json;

std::vector<std::string> split(std::string_view text, std::string_view between) {
  std::vector<std::string> out;
  for (std::size_t at = text.find(between); at != std::string_view::npos; at = text.find(between)) {
    out.emplace_back(text.substr(0, at));
    text.remove_prefix(at + between.size());
  }
  out.emplace_back(text);
  return out;
}

namespace {

using Text = const std::string &;
using Arguments = const Json &;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char &c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         static_cast<unsigned char>(c) >= 0x80 || c == '\'' || c == '_';
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  std::string word;
  for (const char c : text)
    if (is_word(c)) {
      word += c;
    } else if (!word.empty()) {
      out.push_back(std::move(word)), word.clear();
    }
  if (!word.empty()) out.push_back(std::move(word));
  return out;
}

std::int64_t count(std::string_view text, std::string_view what) {
  return what.empty() ? 0 : static_cast<std::int64_t>(split(text, what).size()) - 1;
}

std::int64_t count_word(std::string_view text, std::string_view word) {
  const std::string in = lower(text), what = lower(word);
  std::int64_t n = 0;
  for (std::size_t at = in.find(what); at != std::string::npos; at = in.find(what, at + 1)) {
    const bool begins = at == 0 || !is_word(in[at - 1]);
    const std::size_t end = at + what.size();
    if (begins && (end == in.size() || !is_word(in[end]))) ++n;
  }
  return n;
}

std::int64_t sentences(std::string_view text) {
  std::int64_t n = 0;
  bool open = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool end = text[i] == '.' || text[i] == '!' || text[i] == '?';
    const bool last = i + 1 == text.size() || std::isspace(static_cast<unsigned char>(text[i + 1]));
    if (is_word(text[i])) open = true;
    if (end && last && open) ++n, open = false;
  }
  return n + (open ? 1 : 0);
}

std::int64_t number(Arguments a, const char *name) {
  const Json *value = a.find(name);
  const auto *whole = value->as<std::int64_t>();
  return whole != nullptr ? *whole : static_cast<std::int64_t>(*value->as<double>());
}
std::string text(Arguments a, const char *name) { return *a.find(name)->as<std::string>(); }
std::vector<std::string> list(Arguments a, const char *name) {
  std::vector<std::string> out;
  for (const Json &one : *a.find(name)->as<Json::Array>())
    if (const auto *word = one.as<std::string>()) out.push_back(*word);
  return out;
}
bool related(Arguments a, const char *relation, std::int64_t have, std::int64_t wanted) {
  return text(a, relation) == "less than" ? have < wanted : have >= wanted; // else "at least"
}
bool no_case(std::string_view text, int (*other)(int)) {
  return std::none_of(text.begin(), text.end(),
                      [&](char c) { return other(static_cast<unsigned char>(c)) != 0; });
}

bool quoted(Text t) { return t.size() > 1 && t.front() == '"' && t.back() == '"'; }

bool json(Text t) {
  std::string inside = t;
  if (inside.starts_with("```")) inside = code_block(inside);
  try {
    Json::parse(trimmed(inside));
    return true;
  } catch (const data::JsonError &) {
    return false;
  }
}

std::int64_t highlighted(Text t) {
  std::int64_t n = 0;
  for (const std::string_view mark : {"**", "*"}) {
    std::string rest = t;
    if (mark == "*") rest = fmt::format("{}", fmt::join(split(rest, "**"), " "));
    const auto parts = split(rest, mark);
    for (std::size_t i = 1; i + 1 < parts.size(); i += 2)
      if (!trimmed(parts[i]).empty() && parts[i].find('\n') == std::string::npos) ++n;
  }
  return n;
}

std::int64_t bullets(Text t) {
  std::int64_t n = 0;
  for (const std::string &line : split(t, "\n")) {
    const std::string one = trimmed(line);
    if (one.starts_with("* ") || one.starts_with("- ")) ++n;
  }
  return n;
}

std::int64_t placeholders(Text t) {
  std::int64_t n = 0;
  for (std::size_t at = t.find('['); at != std::string::npos; at = t.find('[', at + 1)) {
    const std::size_t end = t.find_first_of("]\n", at);
    if (end != std::string::npos && t[end] == ']') ++n;
  }
  return n;
}

bool title(Text t) {
  const std::size_t open = t.find("<<"), close = t.find(">>");
  return open != std::string::npos && close != std::string::npos && close > open + 2 &&
         t.substr(open, close - open).find('\n') == std::string::npos;
}

std::vector<std::string> paragraphs(Text t, std::string_view between) {
  std::vector<std::string> out;
  for (const std::string &one : split(t, between))
    if (!trimmed(one).empty()) out.push_back(trimmed(one));
  return out;
}

bool nth_paragraph(Text t, Arguments a) {
  const auto parts = paragraphs(t, "\n\n");
  const std::int64_t n = number(a, "nth_paragraph");
  if (static_cast<std::int64_t>(parts.size()) != number(a, "num_paragraphs") || n < 1 ||
      n > static_cast<std::int64_t>(parts.size()))
    return false;
  const auto first = words(parts[static_cast<std::size_t>(n - 1)]);
  return !first.empty() && lower(first[0]) == lower(text(a, "first_word"));
}

std::int64_t capital_words(Text t) {
  std::int64_t n = 0;
  for (const std::string &word : words(t))
    if (no_case(word, std::islower) && !no_case(word, std::isupper)) ++n;
  return n;
}

std::int64_t count_letter(Text t, const std::string &letter) {
  return count(lower(t), lower(letter));
}

const std::vector<Check> kChecks = {
    {"punctuation:no_comma",
     {},
     {},
     {},
     [](Text t, Arguments) { return t.find(',') == std::string::npos; }},
    {"length_constraints:number_words",
     {"num_words"},
     {"relation"},
     {},
     [](Text t, Arguments a) {
       return related(a, "relation", static_cast<std::int64_t>(words(t).size()),
                      number(a, "num_words"));
     }},
    {"length_constraints:number_sentences",
     {"num_sentences"},
     {"relation"},
     {},
     [](Text t, Arguments a) {
       return related(a, "relation", sentences(t), number(a, "num_sentences"));
     }},
    {"length_constraints:number_paragraphs",
     {"num_paragraphs"},
     {},
     {},
     [](Text t, Arguments a) {
       return static_cast<std::int64_t>(paragraphs(t, "***").size()) == number(a, "num_paragraphs");
     }},
    {"length_constraints:nth_paragraph_first_word",
     {"num_paragraphs", "nth_paragraph"},
     {"first_word"},
     {},
     nth_paragraph},
    {"keywords:existence",
     {},
     {},
     {"keywords"},
     [](Text t, Arguments a) {
       const auto all_of = list(a, "keywords");
       return std::all_of(all_of.begin(), all_of.end(),
                          [&](const auto &w) { return count(lower(t), lower(w)) > 0; });
     }},
    {"keywords:forbidden_words",
     {},
     {},
     {"forbidden_words"},
     [](Text t, Arguments a) {
       const auto none_of = list(a, "forbidden_words");
       return std::none_of(none_of.begin(), none_of.end(),
                           [&](const auto &w) { return count_word(t, w) > 0; });
     }},
    {"keywords:frequency",
     {"frequency"},
     {"relation", "keyword"},
     {},
     [](Text t, Arguments a) {
       return related(a, "relation", count(lower(t), lower(text(a, "keyword"))),
                      number(a, "frequency"));
     }},
    {"keywords:letter_frequency",
     {"let_frequency"},
     {"let_relation", "letter"},
     {},
     [](Text t, Arguments a) {
       return related(a, "let_relation", count_letter(t, text(a, "letter")),
                      number(a, "let_frequency"));
     }},
    {"detectable_format:number_bullet_lists",
     {"num_bullets"},
     {},
     {},
     [](Text t, Arguments a) { return bullets(t) == number(a, "num_bullets"); }},
    {"detectable_format:number_highlighted_sections",
     {"num_highlights"},
     {},
     {},
     [](Text t, Arguments a) { return highlighted(t) >= number(a, "num_highlights"); }},
    {"detectable_format:multiple_sections",
     {"num_sections"},
     {"section_spliter"},
     {},
     [](Text t, Arguments a) {
       return count(t, text(a, "section_spliter") + " ") >= number(a, "num_sections");
     }},
    {"detectable_format:json_format", {}, {}, {}, [](Text t, Arguments) { return json(t); }},
    {"detectable_format:title", {}, {}, {}, [](Text t, Arguments) { return title(t); }},
    {"detectable_format:constrained_response",
     {},
     {},
     {},
     [](Text t, Arguments) {
       return count(t, "My answer is yes.") + count(t, "My answer is no.") +
                  count(t, "My answer is maybe.") >
              0;
     }},
    {"detectable_content:number_placeholders",
     {"num_placeholders"},
     {},
     {},
     [](Text t, Arguments a) { return placeholders(t) >= number(a, "num_placeholders"); }},
    {"detectable_content:postscript",
     {},
     {"postscript_marker"},
     {},
     [](Text t, Arguments a) { return count(lower(t), lower(text(a, "postscript_marker"))) > 0; }},
    {"combination:two_responses",
     {},
     {},
     {},
     [](Text t, Arguments) {
       const auto two = paragraphs(t, "******");
       return two.size() == 2 && two[0] != two[1];
     }},
    {"combination:repeat_prompt",
     {},
     {"prompt_to_repeat"},
     {},
     [](Text t, Arguments a) {
       return lower(t).starts_with(lower(trimmed(text(a, "prompt_to_repeat"))));
     }},
    {"startend:end_checker",
     {},
     {"end_phrase"},
     {},
     [](Text t, Arguments a) { return lower(t).ends_with(lower(trimmed(text(a, "end_phrase")))); }},
    {"startend:quotation", {}, {}, {}, [](Text t, Arguments) { return quoted(t); }},
    {"change_case:english_lowercase",
     {},
     {},
     {},
     [](Text t, Arguments) { return no_case(t, std::isupper); }},
    {"change_case:english_capital",
     {},
     {},
     {},
     [](Text t, Arguments) { return no_case(t, std::islower); }},
    {"change_case:capital_word_frequency",
     {"capital_frequency"},
     {"capital_relation"},
     {},
     [](Text t, Arguments a) {
       return related(a, "capital_relation", capital_words(t), number(a, "capital_frequency"));
     }},
};

} // namespace

const std::vector<Check> &checks() { return kChecks; }

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#include "reward/columns.hpp"

#include <algorithm>
#include <set>
#include <string_view>

#include <fmt/ranges.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "data/unicode.hpp"
#include "reward/extract.hpp"
#include "reward/fields.hpp"

namespace reward {

using data::Json;

namespace {

[[noreturn]] void fail_field(const RuleOptions &rule, const Json &problem, const std::string &place,
                             const std::string &name, const std::string &what) {
  std::vector<std::string> names;
  if (const auto *members = problem.as<Json::Object>())
    for (const auto &[key, value] : *members) names.push_back(key);
  const std::string near = base::text::nearest(name, names);
  throw base::UserError(
      base::Exit::data, "E333", place, fmt::format("field {}", name),
      fmt::format("The reward {} wants {}{} The fields are: {}.", rule.name, what,
                  near.empty() || near == name ? "." : fmt::format("; did you mean {}?", near),
                  fmt::join(names, ", ")));
}

// An array, or the text of one.
Json::Array array_of(const RuleOptions &rule, const Json &problem, const std::string &place,
                     const std::string &name, const char *what) {
  const Json *value = field(problem, name);
  Json parsed;
  if (value != nullptr)
    if (const auto *text = value->as<std::string>()) try {
        parsed = Json::parse(*text);
        value = &parsed;
      } catch (const data::JsonError &) {
        value = nullptr;
      }
  const auto *list = value == nullptr ? nullptr : value->as<Json::Array>();
  if (list == nullptr || list->empty()) fail_field(rule, problem, place, name, what);
  return *list;
}

// Answers of published files often stand at the end of their derivation.
std::string bare_truth(const std::string &text) {
  if (const std::size_t at = text.rfind("####"); at != std::string::npos)
    return trimmed(text.substr(at + 4));
  std::string boxed;
  return last_boxed(text, boxed) ? boxed : trimmed(text);
}

} // namespace

std::string field_text(const RuleOptions &rule, const Json &problem, const std::string &place,
                       const std::string &name) {
  std::string text;
  const Json *value = field(problem, name);
  if (value == nullptr || value->is_null() || !scalar_text(*value, text))
    fail_field(rule, problem, place, name, "a text or a number there");
  return text;
}

Rules::Prepared::Prepared(const RuleOptions &rule) {
  if (!rule.pattern.empty())
    pattern.emplace(rule.pattern, rule.kind == Kind::format && rule.match == Match::whole);
}

std::string found_in(const RuleOptions &rule, const Pattern *pattern, const std::string &text,
                     bool &too_hard) {
  Find find = rule.find;
  if (find == Find::usual)
    find = rule.kind == Kind::math || rule.kind == Kind::vote ? Find::boxed_or_number
           : rule.kind == Kind::program                       ? Find::code
                                                              : Find::whole;
  std::string boxed;
  switch (find) {
  case Find::usual:
  case Find::whole: return trimmed(text);
  case Find::last_line: return last_line(text);
  case Find::boxed: return last_boxed(text, boxed) ? trimmed(boxed) : std::string();
  case Find::number: return last_number(text);
  case Find::boxed_or_number: return last_boxed(text, boxed) ? trimmed(boxed) : last_number(text);
  case Find::pattern: return trimmed(last_match(pattern->regex(), text, &too_hard));
  case Find::code: return last_code_block(text);
  }
  return {};
}

std::vector<std::string> truths_of(const RuleOptions &rule, const Json &problem,
                                   const std::string &place) {
  std::vector<std::string> all;
  const Json *value = field(problem, rule.truth);
  if (value != nullptr)
    if (const auto *list = value->as<Json::Array>()) {
      for (const Json &one : *list) {
        std::string text;
        if (one.is_null() || !scalar_text(one, text))
          fail_field(rule, problem, place, rule.truth, "texts or numbers there");
        all.push_back(text);
      }
      if (all.empty()) fail_field(rule, problem, place, rule.truth, "one right answer at least");
    }
  if (all.empty()) all.push_back(field_text(rule, problem, place, rule.truth));
  for (std::string &one : all) {
    one = rule.kind == Kind::math ? bare_truth(one) : trimmed(one);
    if (one.empty())
      fail_field(rule, problem, place, rule.truth, "a right answer that is not empty");
  }
  return all;
}

Trial trial_of(const RuleOptions &rule, const Json &problem, const std::string &place,
               const std::string &code) {
  Trial trial;
  const std::string head =
      (rule.before.empty() ? std::string() : field_text(rule, problem, place, rule.before)) + code +
      "\n";
  if (!rule.cases.empty()) {
    constexpr const char *what = "an array of {input, output} (or its JSON text) there";
    for (const Json &one : array_of(rule, problem, place, rule.cases, what)) {
      const Json *in = one.find("input"), *out = one.find("output");
      std::string input, output;
      if (in == nullptr || out == nullptr || !scalar_text(*in, input) || !scalar_text(*out, output))
        fail_field(rule, problem, place, rule.cases, what);
      trial.programs.push_back({rule.language, head, input});
      trial.outputs.push_back(output);
    }
    return trial;
  }
  std::vector<std::string> tests;
  const Json *value = field(problem, rule.tests);
  if (value != nullptr && value->as<Json::Array>() != nullptr) {
    for (const Json &one : array_of(rule, problem, place, rule.tests, "one test at least")) {
      tests.emplace_back();
      if (!scalar_text(one, tests.back()))
        fail_field(rule, problem, place, rule.tests, "texts there");
    }
  } else {
    tests.push_back(field_text(rule, problem, place, rule.tests));
  }
  if (!rule.partial) tests = {fmt::format("{}", fmt::join(tests, "\n"))};
  for (const std::string &test : tests)
    trial.programs.push_back({rule.language, head + test + "\n", ""});
  return trial;
}

double length_value(const RuleOptions &rule, std::size_t tokens) {
  const auto n = static_cast<double>(tokens), free = static_cast<double>(rule.free),
             limit = static_cast<double>(rule.limit);
  if (n <= free) return 0;
  return -rule.penalty * std::min(1.0, (n - free) / (limit - free));
}

double repetition_value(const std::vector<data::Token> &tokens, std::int64_t n) {
  const auto width = static_cast<std::size_t>(n);
  if (tokens.size() < width) return 0;
  const std::size_t runs = tokens.size() - width + 1;
  // Runs as their first positions, ordered by what stands there: equal ones are the same element of the set.
  const auto before = [&](std::size_t a, std::size_t b) {
    const auto first = tokens.begin() + static_cast<long>(a),
               other = tokens.begin() + static_cast<long>(b);
    return std::lexicographical_compare(first, first + n, other, other + n);
  };
  std::set<std::size_t, decltype(before)> seen(before);
  for (std::size_t i = 0; i < runs; ++i) seen.insert(i);
  return -static_cast<double>(runs - seen.size()) / static_cast<double>(runs);
}

double script_value(Script script, const std::string &utf8) {
  const auto &classes = data::unicode::ClassTable::get();
  std::int64_t letters = 0, wanted = 0;
  for (std::size_t at = 0; at < utf8.size();) {
    const auto [c, length] = data::unicode::decode(utf8.data() + at);
    at += static_cast<std::size_t>(length);
    if (classes.of(c) != data::unicode::Class::letter) continue;
    ++letters;
    const bool latin = c < 0x250 || (c >= 0x1E00 && c < 0x1F00);
    const bool cjk = (c >= 0x3040 && c < 0x3100) || (c >= 0x3400 && c < 0xA000) ||
                     (c >= 0xAC00 && c < 0xD7B0) || (c >= 0xF900 && c < 0xFB00) ||
                     (c >= 0x20000 && c < 0x32000);
    wanted += (script == Script::latin ? latin : cjk) ? 1 : 0;
  }
  return letters == 0 ? 1.0 : static_cast<double>(wanted) / static_cast<double>(letters);
}

} // namespace reward

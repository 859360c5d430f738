// SPDX-License-Identifier: Apache-2.0
#include "eval/judge.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

#include "base/error.hpp"
#include "eval/answers.hpp"
#include "eval/instructions.hpp"
#include "eval/statistics.hpp"
#include "reward/math_answer.hpp"
#include "reward/tested.hpp"

namespace eval {

using data::Json;

std::vector<Value> judge_choice(const Question &question, const std::vector<Likelihood> &said) {
  HADAL_CHECK(said.size() == question.choices.size(), "{} of {}", said.size(),
              question.choices.size());
  std::size_t best = 0, best_norm = 0;
  const auto norm = [&](std::size_t i) {
    return said[i].sum / static_cast<double>(std::max<std::size_t>(1, question.choices[i].size()));
  };
  for (std::size_t i = 1; i < said.size(); ++i) {
    if (said[i].sum > said[best].sum) best = i;
    if (norm(i) > norm(best_norm)) best_norm = i;
  }
  return {{"acc", "none", best == question.gold ? 1.0 : 0.0, 1},
          {"acc_norm", "none", best_norm == question.gold ? 1.0 : 0.0, 1}};
}

std::vector<Value> judge_text(const std::string &document, double log_likelihood) {
  std::istringstream stream(document);
  double words = 0;
  for (std::string word; stream >> word;) ++words;
  const auto bytes = static_cast<double>(document.size());
  return {{"bits_per_byte", "none", -log_likelihood / std::log(2.0), bytes},
          {"byte_perplexity", "none", -log_likelihood, bytes},
          {"word_perplexity", "none", -log_likelihood, std::max(words, 1.0)}};
}

namespace {

std::string lower(std::string text) {
  for (char &c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Metrics of one answer, in order.
using Scores = std::vector<std::pair<std::string, double>>;

Scores score_plain(const Task &task, const Question &question, const std::string &answer) {
  const bool fold = task.score.ignore_case;
  const auto form = [&](const std::string &text) {
    return fold ? lower(trimmed(text)) : trimmed(text);
  };
  double exact = 0, f1 = 0, contained = 0;
  for (const std::string &gold : question.golds) {
    switch (task.score.compare) {
    case Compare::exact: exact = std::max(exact, form(answer) == form(gold) ? 1.0 : 0.0); break;
    case Compare::math: exact = std::max(exact, reward::same_math(answer, gold) ? 1.0 : 0.0); break;
    case Compare::normalised:
      exact = std::max(exact, normalised(answer) == normalised(gold) ? 1.0 : 0.0);
      f1 = std::max(f1, word_f1(answer, gold));
      break;
    default: contained += form(answer).find(form(gold)) != std::string::npos ? 1.0 : 0.0;
    }
  }
  if (task.score.compare == Compare::contains)
    return {{"contains", contained / static_cast<double>(question.golds.size())}};
  if (task.score.compare == Compare::normalised) return {{"exact_match", exact}, {"f1", f1}};
  return {{"exact_match", exact}};
}

Scores score_drop(const Question &question, const std::string &answer) {
  DropScore best;
  const auto meet = [&](const Json *gold) {
    if (gold == nullptr || gold->as<Json::Object>() == nullptr) return;
    const DropScore score = drop_score(answer, *gold);
    best.exact = std::max(best.exact, score.exact), best.f1 = std::max(best.f1, score.f1);
  };
  meet(question.record.row.find("answer"));
  if (const Json *others = question.record.row.find("validated_answers"))
    if (const auto *list = others->as<Json::Array>())
      for (const Json &one : *list) meet(&one);
  return {{"exact_match", best.exact}, {"f1", best.f1}};
}

std::vector<Value> judge_instructions(const Question &question, const std::string &answer) {
  const auto all = read_instructions(question.record);
  const auto n = static_cast<double>(all.size());
  double strict = 0, loose = 0;
  for (const Instruction &one : all) {
    strict += follows(one, answer) ? 1 : 0;
    loose += follows_loosely(one, answer) ? 1 : 0;
  }
  return {{"prompt_level_strict_acc", "none", strict == n ? 1.0 : 0.0, 1},
          {"inst_level_strict_acc", "none", strict, n},
          {"prompt_level_loose_acc", "none", loose == n ? 1.0 : 0.0, 1},
          {"inst_level_loose_acc", "none", loose, n}};
}

// Input and wanted output of each case; without cases the program has its tests in itself.
std::vector<std::pair<std::string, std::string>> cases(const Task &task, const Question &question) {
  std::vector<std::pair<std::string, std::string>> all;
  if (task.score.stdin_cases.empty()) return {{"", ""}};
  const Json *at = field(question.record.row, task.score.stdin_cases);
  Json parsed;
  if (at == nullptr) missing_field(question.record, task.score.stdin_cases, task.file);
  if (const auto *text = at->as<std::string>()) try {
      parsed = Json::parse(*text);
      at = &parsed;
    } catch (const data::JsonError &) {
      at = nullptr;
    }
  const auto *list = at == nullptr ? nullptr : at->as<Json::Array>();
  if (list != nullptr)
    for (const Json &one : *list) {
      const Json *in = one.find("input"), *out = one.find("output");
      std::string input, output;
      if (in != nullptr && out != nullptr && scalar_text(*in, input) && scalar_text(*out, output))
        all.emplace_back(input, output);
    }
  if (list == nullptr || all.empty())
    throw base::UserError(base::Exit::data, "E305", question.record.place, task.score.stdin_cases,
                          "An array of {input, output} is wanted, or its JSON text.");
  return all;
}

std::vector<Value> judge_programs(const Task &task, const Question &question,
                                  const std::vector<std::string> &answers, Runner &runner) {
  const auto wanted = cases(task, question);
  std::vector<Program> programs;
  for (const std::string &answer : answers) {
    Program program;
    program.source = task.program.render(question.record,
                                         {{"completion", extract(task.filters[0], answer, {})}});
    program.tests_inside = task.score.stdin_cases.empty();
    for (const auto &one : wanted) {
      program.input = one.first;
      programs.push_back(program);
    }
  }
  const std::vector<RunOutcome> outcomes = runner.run(programs);
  HADAL_CHECK(outcomes.size() == programs.size(), "{} outcomes of {}", outcomes.size(),
              programs.size());
  std::int64_t right = 0;
  for (std::size_t a = 0; a < answers.size(); ++a) {
    bool all = true;
    for (std::size_t c = 0; c < wanted.size(); ++c) {
      const RunOutcome &outcome = outcomes[a * wanted.size() + c];
      all =
          all && outcome.finished &&
          (task.score.stdin_cases.empty() || reward::same_output(outcome.output, wanted[c].second));
    }
    right += all ? 1 : 0;
  }
  std::vector<Value> values;
  for (const double k : task.score.k)
    values.push_back(
        {fmt::format("pass@{}", static_cast<std::int64_t>(k)), task.filters[0].name,
         pass_at_k(static_cast<std::int64_t>(answers.size()), right, static_cast<std::int64_t>(k)),
         1});
  return values;
}

} // namespace

std::vector<Value> judge_answers(const Task &task, const Question &question,
                                 const std::vector<std::string> &answers, Runner *runner,
                                 std::vector<std::string> &extracted) {
  extracted.clear();
  for (const FilterTable &filter : task.filters)
    extracted.push_back(extract(filter, answers[0], question.letters));
  if (task.score.compare == Compare::instructions) return judge_instructions(question, answers[0]);
  if (task.score.compare == Compare::program) {
    HADAL_CHECK(runner != nullptr, "{} without a runner", task.task.name);
    return judge_programs(task, question, answers, *runner);
  }
  std::vector<Value> values;
  for (const FilterTable &filter : task.filters) {
    const std::size_t first = values.size();
    for (const std::string &answer : answers) {
      const std::string found = extract(filter, answer, question.letters);
      const Scores scores = task.score.compare == Compare::drop
                                ? score_drop(question, found)
                                : score_plain(task, question, found);
      for (std::size_t i = 0; i < scores.size(); ++i) {
        if (values.size() == first + i) values.push_back({scores[i].first, filter.name, 0, 1});
        values[first + i].above += scores[i].second;
      }
    }
    for (std::size_t i = first; i < values.size(); ++i)
      values[i].above /= static_cast<double>(answers.size());
  }
  return values;
}

} // namespace eval

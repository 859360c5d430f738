// SPDX-License-Identifier: Apache-2.0
#include "reward/rules.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "reward/columns.hpp"
#include "reward/extract.hpp"
#include "reward/majority.hpp"
#include "reward/math_answer.hpp"
#include "reward/show.hpp"
#include "reward/tested.hpp"

namespace reward {

namespace {

std::string lower(std::string text) {
  for (char &c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

bool agrees(const RuleOptions &rule, const std::string &said, const std::string &truth) {
  if (rule.kind == Kind::math) return same_math(said, truth);
  const std::string a = rule.ignore_case ? lower(said) : said,
                    b = rule.ignore_case ? lower(truth) : truth;
  return rule.kind == Kind::contains ? a.find(b) != std::string::npos : a == b;
}

std::string short_text(const std::string &text) {
  return base::text::readable(text.size() <= 80 ? text : data::shown(text, 80));
}

std::string how(const sandbox::Outcome &o) {
  if (o.hit != sandbox::Hit::nothing) return fmt::format("limit of {}", sandbox::name_of(o.hit));
  if (o.signal != 0) return fmt::format("signal {}", o.signal);
  if (o.exit_code == 0) return "wrong output, or no end of the tests";
  return fmt::format("{}exit code {}: {}", o.compiled ? "" : "not compiled, ", o.exit_code,
                     short_text(last_line(o.errors)));
}

// All programs of all answers at once. An answer without code runs nothing.
void run_trials(const RuleOptions &rule, const sandbox::Options &sandbox,
                const std::vector<Trial> &trials, std::vector<double> &values,
                std::vector<std::string> &notes) {
  std::vector<Tested> tested;
  std::vector<sandbox::Program> programs;
  for (const Trial &trial : trials)
    for (const sandbox::Program &program : trial.programs) {
      tested.push_back(trial.outputs.empty() ? with_mark(program) : Tested{program, ""});
      programs.push_back(tested.back().program);
    }
  std::vector<sandbox::Outcome> outcomes = sandbox::run_all(programs, sandbox);
  std::size_t at = 0;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const Trial &trial = trials[i];
    if (trial.programs.empty()) {
      notes[i] = "no code";
      continue;
    }
    std::size_t right = 0;
    std::string first;
    for (std::size_t p = 0; p < trial.programs.size(); ++p, ++at) {
      const bool good =
          passed(tested[at], outcomes[at]) &&
          (trial.outputs.empty() || same_output(outcomes[at].output, trial.outputs[p]));
      right += good ? 1 : 0;
      if (!good && first.empty()) first = "; " + how(outcomes[at]);
    }
    const std::size_t all = trial.programs.size();
    values[i] = rule.partial ? static_cast<double>(right) / static_cast<double>(all)
                             : (right == all ? 1.0 : 0.0);
    notes[i] = fmt::format("{} of {} passed{}", right, all, first);
  }
}

// The problem of an item; ours to be there.
const data::Json &problem_of(const Item &item) {
  HADAL_CHECK(item.problem != nullptr, "an item without problem, {}", item.place);
  return *item.problem;
}

void count_votes(const RuleOptions &rule, const std::vector<Item> &items,
                 const std::vector<std::string> &found, std::vector<double> &values) {
  std::map<std::int64_t, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < items.size(); ++i) groups[items[i].group].push_back(i);
  for (const auto &[group, members] : groups) {
    std::vector<std::string> answers;
    for (const std::size_t i : members) answers.push_back(found[i]);
    const Majority most = majority(answers);
    const bool enough =
        static_cast<double>(most.votes) >= rule.quorum * static_cast<double>(members.size()) - 1e-9;
    for (std::size_t m = 0; m < members.size(); ++m)
      values[members[m]] = enough && most.agrees[m] ? 1 : 0;
  }
}

std::vector<double> ask(const RuleOptions &rule, const std::vector<Item> &items, Outside *outside) {
  const auto fail = [&](const std::string &what) {
    throw base::UserError(base::Exit::deck, "E334", "[[reward]] " + rule.name, "kind = \"model\"",
                          what);
  };
  if (outside == nullptr) fail("This phase has no reward model to ask; leave the rule out.");
  std::vector<double> values = outside->model(rule, items);
  HADAL_CHECK(values.size() == items.size(), "{} scores of {}", values.size(), items.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      fail(fmt::format("The reward model gives {} to an answer to {}.", values[i], items[i].place));
  return values;
}

} // namespace

Rules::Rules(Options options) : options_(std::move(options)) {
  for (const RuleOptions &rule : options_.rules)
    prepared_.push_back(std::make_unique<Prepared>(rule));
}
Rules::~Rules() = default;

bool Rules::has_judge() const {
  return std::any_of(options_.rules.begin(), options_.rules.end(),
                     [](const RuleOptions &rule) { return is_judge(rule.kind); });
}

void Rules::check_machine() const {
  std::vector<std::string> languages;
  for (const RuleOptions &rule : options_.rules)
    if (rule.kind == Kind::program) languages.push_back(rule.language);
  if (languages.empty()) return;
  const sandbox::Isolation isolation = sandbox::check(options_.sandbox, languages);
  if (isolation.namespaces)
    base::log::info("sandbox: {}", isolation.text());
  else
    base::log::warn("sandbox: {}; programs can read and write what this user can",
                    isolation.text());
}

void Rules::check_problem(const data::Json &problem, const std::string &place) const {
  for (const RuleOptions &rule : options_.rules) switch (rule.kind) {
    case Kind::math:
    case Kind::exact:
    case Kind::contains: truths_of(rule, problem, place); break;
    case Kind::program: trial_of(rule, problem, place, ""); break;
    case Kind::model:
      if (!rule.show.empty()) shown(rule, problem, place);
      break;
    default: break;
    }
}

Rules::Column Rules::column(std::size_t index, const std::vector<Item> &items,
                            Outside *outside) const {
  const RuleOptions &rule = options_.rules[index];
  const Pattern *pattern = prepared_[index]->pattern ? &*prepared_[index]->pattern : nullptr;
  Column out;
  out.values.assign(items.size(), 0.0);
  out.notes.assign(items.size(), "");
  std::vector<std::string> found(items.size());
  std::vector<Trial> trials(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Item &item = items[i];
    double &value = out.values[i];
    const std::string text = valid_text(item.answer);
    if (is_judge(rule.kind)) {
      bool too_hard = false;
      found[i] = found_in(rule, pattern, text, too_hard);
      out.too_hard += too_hard ? 1 : 0;
      if (rule.kind != Kind::program) out.notes[i] = short_text(found[i]);
    }
    switch (rule.kind) {
    case Kind::math:
    case Kind::exact:
    case Kind::contains:
      for (const std::string &truth : truths_of(rule, problem_of(item), item.place))
        if (agrees(rule, found[i], truth)) value = 1;
      break;
    case Kind::program:
      if (!trimmed(found[i]).empty())
        trials[i] = trial_of(rule, problem_of(item), item.place, found[i]);
      break;
    case Kind::format: {
      const auto verdict = pattern->test(text);
      value = verdict == Pattern::Verdict::yes ? 1 : 0;
      out.too_hard += verdict == Pattern::Verdict::too_hard ? 1 : 0;
      break;
    }
    case Kind::length: value = length_value(rule, item.tokens.size()); break;
    case Kind::repetition: value = repetition_value(item.tokens, rule.ngram); break;
    case Kind::language: value = script_value(rule.script, text); break;
    case Kind::ended: value = item.ended ? 1 : 0; break;
    case Kind::vote:
    case Kind::model: break; // of all items together, below
    }
  }
  if (rule.kind == Kind::program) run_trials(rule, options_.sandbox, trials, out.values, out.notes);
  if (rule.kind == Kind::vote) count_votes(rule, items, found, out.values);
  if (rule.kind == Kind::model) out.values = ask(rule, items, outside);
  return out;
}

std::vector<Scores> Rules::score(const std::vector<Item> &items, Outside *outside) const {
  std::vector<Scores> scores(items.size());
  if (items.empty()) return scores;
  const auto &rules = options_.rules;
  for (Scores &one : scores) one.correct = has_judge();
  for (std::size_t r = 0; r < rules.size(); ++r) {
    Column values = column(r, items, outside);
    if (values.too_hard > 0)
      base::log::warn("reward {}: the pattern takes too many steps on {} of {} answers and finds "
                      "nothing more there",
                      rules[r].name, values.too_hard, items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      scores[i].parts.push_back(values.values[i]);
      scores[i].notes.push_back(std::move(values.notes[i]));
      if (is_judge(rules[r].kind) && values.values[i] < 1) scores[i].correct = false;
    }
  }
  for (Scores &one : scores)
    for (std::size_t r = 0; r < rules.size(); ++r) {
      if (rules[r].only_correct && !one.correct) one.parts[r] = 0;
      one.total += rules[r].weight * one.parts[r];
    }
  return scores;
}

} // namespace reward

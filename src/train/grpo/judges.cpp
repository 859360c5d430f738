// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/judges.hpp"

#include <algorithm>
#include <cstring>

namespace train::grpo {
namespace {

using reward::Per;

void append(std::string &text, double value) {
  char bytes[sizeof(double)];
  std::memcpy(bytes, &value, sizeof(double));
  text.append(bytes, sizeof(double));
}

// The scores that the models gave, handed to the rules.
class Given final : public reward::Outside {
public:
  explicit Given(std::map<std::string, std::vector<double>> values) : values_(std::move(values)) {}
  std::vector<double> model(const reward::RuleOptions &rule,
                            const std::vector<reward::Item> &) override {
    return values_.at(rule.name);
  }

private:
  std::map<std::string, std::vector<double>> values_;
};

} // namespace

template <class A>
Judges<A>::Judges(const train::Options &options, const Ranks &ranks, const Answers &answers)
    : o_(options), ranks_(ranks), tokenizer_(answers.tokenizer()),
      outcome_(reward::with(options.reward, Per::answer)),
      steps_(reward::with(options.reward, Per::step)), models_(options, ranks, tokenizer_) {
  if (ranks.first()) outcome_.check_machine(), steps_.check_machine();
  for (const Problem &p : answers.prompts.all()) {
    outcome_.check_problem(p.fields, p.place), steps_.check_problem(p.fields, p.place);
    models_.check(p.fields, p.place);
  }
}

template <class A> bool Judges<A>::mine(std::size_t answer) const {
  const auto size = static_cast<std::size_t>(o_.grpo.group),
             ranks = static_cast<std::size_t>(ranks_.world().size());
  return answer / size % ranks == static_cast<std::size_t>(ranks_.world().rank());
}

template <class A>
typename Judges<A>::Share Judges<A>::share(const std::vector<Answered> &answers,
                                           bool by_step) const {
  Share share;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!mine(i)) continue;
    const Answered &a = answers[i];
    const auto add = [&](std::size_t end, const std::string &text) {
      const auto first = a.tokens.begin();
      share.items.push_back({&a.problem->fields,
                             a.problem->place,
                             text,
                             {first, first + static_cast<std::ptrdiff_t>(end)},
                             a.ended,
                             static_cast<std::int64_t>(i) / o_.grpo.group});
      share.answer.push_back(i);
    };
    if (!by_step) add(a.tokens.size(), a.text);
    if (!by_step) continue;
    for (const Step &step : a.steps)
      add(step.end,
          step.end == a.tokens.size() ? a.text : text_upto(a.tokens, step.end, tokenizer_));
  }
  return share;
}

template <class A>
typename Judges<A>::Values Judges<A>::ask(const std::vector<Answered> &answers, bool by_step) {
  std::vector<Shown> all;
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const Answered &a = answers[i];
    const auto add = [&](std::size_t end) {
      if (mine(i)) kept.push_back(all.size());
      all.push_back({&a.problem->fields, &a.problem->place, a.problem->prompt,
                     std::span(a.tokens).first(end)});
    };
    if (!by_step) add(a.tokens.size());
    if (by_step)
      for (const Step &step : a.steps) add(step.end);
  }
  Values values;
  for (const auto &rule : (by_step ? steps_ : outcome_).rules()) {
    if (rule.kind != reward::Kind::model) continue;
    const auto scores = models_.ask(rule, all);
    for (const std::size_t i : kept) values[rule.name].push_back(scores[i]);
    if (kept.empty()) values[rule.name] = {};
  }
  return values;
}

template <class A>
std::vector<reward::Scores> Judges<A>::score(const std::vector<Answered> &answers, bool by_step) {
  const reward::Rules &rules = by_step ? steps_ : outcome_;
  Given given(ask(answers, by_step));
  return rules.score(share(answers, by_step).items, &given);
}

template <class A> void Judges<A>::judge(std::vector<Answered> &answers) {
  if (has_steps())
    for (Answered &a : answers) a.steps = cut_into_steps(a.tokens, tokenizer_, o_.grpo.step_end);
  const auto outcome = score(answers, false), steps = score(answers, true);
  // Of each answer: its place, outcome, correctness, parts in the order of the deck, rewards of its steps.
  std::string text;
  std::size_t at = 0, first = 0;
  for (std::size_t i = 0; i < answers.size(); ++i) {
    if (!mine(i)) continue;
    const std::size_t n = answers[i].steps.size();
    append(text, static_cast<double>(i));
    append(text, outcome[at].total);
    append(text, outcome[at].correct ? 1.0 : 0.0);
    std::size_t of_answer = 0, of_step = 0;
    for (const auto &rule : o_.reward.rules) {
      double part = 0;
      if (rule.per == Per::answer)
        part = outcome[at].parts[of_answer++];
      else {
        for (std::size_t k = 0; k < n; ++k) part += steps[first + k].parts[of_step];
        part /= static_cast<double>(std::max<std::size_t>(1, n)), ++of_step;
      }
      append(text, part);
    }
    for (std::size_t k = 0; k < n; ++k) append(text, steps[first + k].total);
    ++at, first += n;
  }
  for (const std::string &told : ranks_.world().all_gather_text(text, {"rewards"}))
    read(told, answers);
}

template <class A>
void Judges<A>::read(const std::string &text, std::vector<Answered> &answers) const {
  std::vector<double> values(text.size() / sizeof(double));
  std::memcpy(values.data(), text.data(), values.size() * sizeof(double));
  const std::size_t rules = o_.reward.rules.size();
  for (auto at = values.begin(); at != values.end();) {
    Answered &a = answers.at(static_cast<std::size_t>(*at++));
    a.outcome = *at++, a.correct = *at++ > 0;
    a.parts.assign(at, at + static_cast<std::ptrdiff_t>(rules));
    at += static_cast<std::ptrdiff_t>(rules);
    double sum = 0;
    for (Step &step : a.steps) step.reward = *at++, sum += step.reward;
    a.reward = a.outcome + (a.steps.empty() ? 0.0 : sum / static_cast<double>(a.steps.size()));
  }
}

template class Judges<float>;
template class Judges<numerics::bf16>;

} // namespace train::grpo

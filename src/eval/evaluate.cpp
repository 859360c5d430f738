// SPDX-License-Identifier: Apache-2.0
#include "eval/evaluate.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/files.hpp"
#include "eval/draw.hpp"
#include "eval/judge.hpp"
#include "eval/log.hpp"

namespace eval {

using base::Exit, base::UserError;
using data::Json, data::Token;
using Tokens = std::vector<Token>;

namespace {

// One task being asked.
class Asker {
public:
  Asker(Model &model, const Prepared &prepared, const Options &options,
        const Evaluation &evaluation)
      : model_(model), task_(prepared.task), questions_(prepared.questions), options_(options),
        evaluation_(evaluation) {}

  // Samples of the questions [first, last).
  std::vector<Sample> ask(std::size_t first, std::size_t last) {
    switch (task_.task.kind) {
    case Kind::choice: return choices(first, last);
    case Kind::text: return texts(first, last);
    case Kind::generate:
    case Kind::synthetic: return answers(first, last);
    }
    return {};
  }

private:
  std::vector<Sample> choices(std::size_t first, std::size_t last);
  std::vector<Sample> texts(std::size_t first, std::size_t last);
  std::vector<Sample> answers(std::size_t first, std::size_t last);
  Sample sample(std::size_t index, bool shortened, Json::Object details,
                std::vector<Value> values) const {
    if (shortened) details.emplace_back("shortened", Json{true});
    const auto &wanted = task_.score.metrics;
    if (!wanted.empty())
      std::erase_if(values, [&](const Value &value) {
        return std::find(wanted.begin(), wanted.end(), value.metric) == wanted.end();
      });
    return {static_cast<std::int64_t>(index), questions_[index].group, std::move(values),
            Json{std::move(details)}};
  }
  bool fit(Pair &pair, const Question &question) const; // true: it was shortened
  Prompt prompt(const Question &question, std::size_t index, std::int64_t drawn,
                bool &shortened) const;

  Model &model_;
  const Task &task_;
  const std::vector<Question> &questions_;
  const Options &options_;
  const Evaluation &evaluation_;
};

// The beginning of a context goes when it does not fit.
bool Asker::fit(Pair &pair, const Question &question) const {
  const auto longest = static_cast<std::size_t>(model_.longest());
  const std::size_t after = pair.continuation.size();
  if (after >= longest)
    throw UserError(
        Exit::data, "E312", question.place, fmt::format("{} tokens of answer", after),
        fmt::format("The model takes {} with the question (evaluate.max_length).", longest));
  if (pair.context.size() + after <= longest) return false;
  pair.context.erase(pair.context.begin(),
                     pair.context.begin() +
                         static_cast<long>(pair.context.size() + after - longest));
  return true;
}

Json numbers(const std::vector<Likelihood> &said) {
  Json::Array all;
  for (const Likelihood &one : said) all.push_back(Json{one.sum});
  return Json{std::move(all)};
}
Json strings(const std::vector<std::string> &texts) {
  Json::Array all;
  for (const std::string &one : texts) all.push_back(Json{one});
  return Json{std::move(all)};
}

std::vector<Sample> Asker::choices(std::size_t first, std::size_t last) {
  std::vector<Continuation> requests;
  std::vector<bool> shortened(last - first, false);
  for (std::size_t q = first; q < last; ++q) {
    const Question &question = questions_[q];
    for (std::size_t i = 0; i < question.continuations.size(); ++i) {
      const std::string &context = question.contexts[std::min(i, question.contexts.size() - 1)];
      Pair pair =
          encode_pair(model_.tokenizer(), evaluation_.wording, context, question.continuations[i]);
      if (fit(pair, question)) shortened[q - first] = true;
      requests.push_back({std::move(pair.context), std::move(pair.continuation)});
    }
  }
  const std::vector<Likelihood> all = model_.log_likelihoods(requests);
  std::vector<Sample> samples;
  std::size_t at = 0;
  for (std::size_t q = first; q < last; ++q) {
    const Question &question = questions_[q];
    const std::vector<Likelihood> said(all.begin() + static_cast<long>(at),
                                       all.begin() +
                                           static_cast<long>(at + question.continuations.size()));
    at += said.size();
    samples.push_back(sample(q, shortened[q - first],
                             {{"place", Json{question.place}},
                              {"context", Json{question.contexts[0]}},
                              {"continuations", strings(question.continuations)},
                              {"target", Json{static_cast<std::int64_t>(question.gold)}},
                              {"log_likelihoods", numbers(said)}},
                             judge_choice(question, said)));
  }
  return samples;
}

// A document in windows: each token is predicted once; a window begins with the last token of the one before.
std::vector<Sample> Asker::texts(std::size_t first, std::size_t last) {
  std::vector<Sample> samples;
  for (std::size_t q = first; q < last; ++q) {
    std::string text;
    scalar_text(*field(questions_[q].record.row, "text"), text);
    Wording plain = evaluation_.wording;
    plain.chat.reset();
    if (!plain.start) plain.start = model_.tokenizer().eos();
    const Tokens tokens = encode_prompt(model_.tokenizer(), plain, text);
    const auto window = static_cast<std::size_t>(model_.longest() - 1);
    std::vector<Continuation> requests;
    for (std::size_t at = 1; at < tokens.size(); at += window) {
      const std::size_t end = std::min(at + window, tokens.size());
      requests.push_back({{tokens[at - 1]},
                          Tokens(tokens.begin() + static_cast<long>(at),
                                 tokens.begin() + static_cast<long>(end))});
    }
    double sum = 0;
    for (const Likelihood &one : model_.log_likelihoods(requests)) sum += one.sum;
    samples.push_back(sample(q, false,
                             {{"place", Json{questions_[q].place}},
                              {"tokens", Json{static_cast<std::int64_t>(tokens.size()) - 1}},
                              {"log_likelihood", Json{sum}}},
                             judge_text(text, sum)));
  }
  return samples;
}

Prompt Asker::prompt(const Question &question, std::size_t index, std::int64_t drawn,
                     bool &shortened) const {
  Prompt p;
  p.tokens = encode_prompt(model_.tokenizer(), evaluation_.wording, question.contexts[0]);
  p.max_tokens = task_.generate.max_tokens;
  if (options_.max_tokens > 0) p.max_tokens = std::min(p.max_tokens, options_.max_tokens);
  // Half of what the model takes is the question's at least.
  p.max_tokens = std::max<std::int64_t>(1, std::min(p.max_tokens, model_.longest() / 2));
  const auto room = static_cast<std::size_t>(model_.longest() - p.max_tokens);
  if (p.tokens.size() > room) {
    shortened = true;
    p.tokens.erase(p.tokens.begin(), p.tokens.end() - static_cast<long>(room));
  }
  p.temperature = task_.generate.temperature, p.top_p = task_.generate.top_p;
  p.stop = task_.generate.stop;
  p.seed = draw(static_cast<std::uint64_t>(options_.seed), "answers/" + task_.task.name,
                index * 65536 + static_cast<std::uint64_t>(drawn));
  return p;
}

std::vector<Sample> Asker::answers(std::size_t first, std::size_t last) {
  std::vector<Prompt> prompts;
  bool shortened = false;
  std::vector<bool> shortened_ones;
  for (std::size_t q = first; q < last; ++q, shortened = false) {
    for (std::int64_t i = 0; i < task_.generate.samples; ++i)
      prompts.push_back(prompt(questions_[q], q, i, shortened));
    shortened_ones.push_back(shortened);
  }
  const std::vector<Generated> all = model_.generate(prompts);
  std::vector<Sample> samples;
  auto next = all.begin();
  for (std::size_t q = first; q < last; ++q) {
    std::vector<std::string> said, extracted;
    for (std::int64_t i = 0; i < task_.generate.samples; ++i) said.push_back((next++)->text);
    std::vector<Value> values =
        judge_answers(task_, questions_[q], said, evaluation_.runner, extracted);
    samples.push_back(sample(q, shortened_ones[q - first],
                             {{"place", Json{questions_[q].place}},
                              {"prompt", Json{questions_[q].contexts[0]}},
                              {"target", strings(questions_[q].golds)},
                              {"answers", strings(said)},
                              {"extracted", strings(extracted)}},
                             std::move(values)));
  }
  return samples;
}

// Everything that the values depend on.
std::string fingerprint(const Prepared &p, const Options &options, const Evaluation &evaluation,
                        std::int64_t longest) {
  base::Digest128 digest;
  const auto add = [&](const std::string &text) {
    const auto size = static_cast<std::uint64_t>(text.size());
    digest.add(&size, sizeof size);
    digest.add(text.data(), text.size());
  };
  add(evaluation.model), add(p.task.source);
  add(fmt::format("{} {} {} {} {}", options.seed, longest, options.max_tokens,
                  evaluation.wording.start ? *evaluation.wording.start : -1,
                  evaluation.wording.chat ? data::chat::name_of(*evaluation.wording.chat) : "-"));
  for (const Question &question : p.questions) {
    add(question.group);
    for (const auto *texts :
         {&question.contexts, &question.continuations, &question.choices, &question.golds})
      for (const std::string &text : *texts) add(text);
    add(fmt::format("{}", question.gold));
    std::string row;
    if (const auto *members = question.record.row.as<Json::Object>())
      for (const auto &[key, value] : *members)
        if (key != "file") write_line(row, value);
    add(row);
  }
  return digest.value().hex();
}

TaskResult run_task(Model &model, const Prepared &p, const Options &options,
                    const Evaluation &evaluation) {
  TaskResult result;
  result.task = p.task.task.name, result.about = p.task.task.about;
  result.version = p.task.task.version;
  result.shots = shots_of(p.task, p.options.shots);
  result.fingerprint = fingerprint(p, options, evaluation, model.longest());
  SampleLog log(evaluation.directory, result.task, result.fingerprint, options.existing);
  Asker asker(model, p, options, evaluation);
  const std::size_t all = p.questions.size();
  if (evaluation.say)
    evaluation.say(fmt::format("{}: {} questions{}", result.task, all,
                               log.samples().empty()
                                   ? std::string()
                                   : fmt::format(", {} are there", log.samples().size())));
  while (log.samples().size() < all) {
    const std::size_t first = log.samples().size();
    const std::size_t last = std::min(all, first + static_cast<std::size_t>(options.batch));
    log.add(asker.ask(first, last));
  }
  summarise(result, log.samples(), options.bootstrap);
  for (const Sample &sample : log.samples())
    result.shortened += sample.details.find("shortened") != nullptr ? 1 : 0;
  return result;
}

Json about(const Options &options, const Evaluation &evaluation, const Model &model) {
  return Json{Json::Object{{"checkpoint", Json{options.checkpoint}},
                           {"model", Json{evaluation.model}},
                           {"seed", Json{options.seed}},
                           {"limit", Json{options.limit}},
                           {"max_length", Json{model.longest()}},
                           {"chat", Json{evaluation.wording.chat.has_value()}}}};
}

} // namespace

std::vector<TaskResult> evaluate(Model &model, std::vector<Prepared> &tasks, const Options &options,
                                 const Evaluation &evaluation) {
  std::vector<TaskResult> results;
  for (const Prepared &task : tasks) {
    results.push_back(run_task(model, task, options, evaluation));
    if (const std::string cells = grid(results.back());
        !evaluation.directory.empty() && !cells.empty())
      base::write_file_atomic(evaluation.directory / ("grid_" + results.back().task + ".csv"),
                              cells, Exit::machine, "E314");
  }
  if (evaluation.directory.empty()) return results;
  std::string json;
  to_json(results, about(options, evaluation, model)).write(json);
  base::write_file_atomic(evaluation.directory / "results.json", json + "\n", Exit::machine,
                          "E314");
  base::write_file_atomic(evaluation.directory / "results.txt", table(results, true), Exit::machine,
                          "E314");
  return results;
}

} // namespace eval

// SPDX-License-Identifier: Apache-2.0
#include "app/examination.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

#include <fmt/format.h>

#include "app/commands/habits.hpp"
#include "base/clock.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "data/chat_jinja.hpp"
#include "eval/engine_model.hpp"
#include "eval/programs.hpp"
#include "eval/together.hpp"
#include "reward/options.hpp"

namespace app {
namespace {

namespace fs = std::filesystem;
using base::Exit;

constexpr const char *kHead = "step,task,version,filter,shots,metric,value,stderr,questions\n";

// Stands for the model where only the lengths of what is asked are of interest.
class Nobody final : public eval::Model {
public:
  Nobody(const data::Tokenizer &tokenizer, std::int64_t longest)
      : tokenizer_(tokenizer), longest_(longest) {}
  const data::Tokenizer &tokenizer() const override { return tokenizer_; }
  std::int64_t longest() const override { return longest_; }
  std::vector<eval::Likelihood>
  log_likelihoods(const std::vector<eval::Continuation> &requests) override {
    return std::vector<eval::Likelihood>(requests.size());
  }
  std::vector<eval::Generated> generate(const std::vector<eval::Prompt> &prompts) override {
    return std::vector<eval::Generated>(prompts.size());
  }

private:
  const data::Tokenizer &tokenizer_;
  std::int64_t longest_;
};

std::optional<std::string> companion(const train::Examined &run, const std::string &name) {
  for (const auto &[file, text] : run.companions)
    if (file == name) return text;
  return {};
}

// As `hadal eval` words its questions to a checkpoint of the run.
eval::Wording wording_of(const eval::Options &options, const train::Examined &run) {
  const auto settings = companion(run, "tokenizer_config.json");
  eval::Wording wording;
  if (options.chat)
    wording.chat = data::chat::form_of(settings, companion(run, "chat_template.jinja"),
                                       run.options.run.directory)
                       .value_or(data::chat::Form::corrected);
  else if (wants_bos(settings))
    wording.start = run.tokenizer.bos();
  else if (!run.options.data.mask_documents)
    wording.start = run.tokenizer.eos();
  return wording;
}

infer::Group group_of(const train::Options &o, const train::Ranks &ranks) {
  std::vector<infer::Stage> stages;
  const auto parts = train::cut_into_stages(o, ranks.stages());
  for (std::size_t s = 0; s < parts.size(); ++s)
    stages.push_back({parts[s], ranks.rank_of(static_cast<int>(s), 0)});
  return infer::group_of(ranks.mesh(), stages, ranks.expert_group(o));
}

bool runs_programs(const eval::Prepared &one) {
  return one.task.task.kind == eval::Kind::generate &&
         one.task.score.compare == eval::Compare::program;
}

std::string number(double value) {
  return std::isnan(value) ? std::string() : fmt::format("{:.9g}", value);
}

class Examiner final : public train::Examiner {
public:
  explicit Examiner(const Examination &examination)
      : options_(examination.options), engine_(examination.engine), sandbox_(examination.sandbox) {
    options_.existing = eval::Existing::replace; // of an earlier attempt at the same step
  }

  void begin(const train::Examined &run) override {
    run_.emplace(run);
    longest_ = options_.max_length > 0 ? options_.max_length : run.options.batch.sequence;
    group_ = group_of(run.options, run.ranks);
    if (run.ranks.first()) prepare_questions();
    run.ranks.world().barrier({"questions of the evaluation"});
  }
  void examine(const model::Weights<float> &weights, std::int64_t step, bool last) override {
    ask(weights, step, last);
  }
  void examine(const model::Weights<numerics::bf16> &weights, std::int64_t step,
               bool last) override {
    ask(weights, step, last);
  }

private:
  fs::path directory() const { return run_->options.run.directory; }
  fs::path table() const { return directory() / "evaluation.csv"; }

  void prepare_questions() {
    tasks_ = eval::prepare(options_, options_.programs);
    eval::prepare_puzzles(tasks_, options_, run_->tokenizer, longest_);
    evaluation_.wording = wording_of(options_, *run_);
    try_lengths();
    if (std::any_of(tasks_.begin(), tasks_.end(), runs_programs)) {
      runner_ = std::make_unique<eval::SandboxRunner>(sandbox_);
      evaluation_.runner = runner_.get();
      base::log::info("evaluation: sandbox: {}", runner_->isolation());
    }
    keep_rows(run_->step + 1);
    std::size_t questions = 0;
    for (const eval::Prepared &one : tasks_) questions += one.questions.size();
    base::log::info("evaluation: {} task(s), {} questions, {}", tasks_.size(), questions,
                    options_.every > 0
                        ? fmt::format("every {} steps and at the end", options_.every)
                        : "at the end");
  }
  // E312 is found now, and not when the run has got to it.
  void try_lengths() const {
    std::vector<eval::Prepared> choices;
    std::copy_if(tasks_.begin(), tasks_.end(), std::back_inserter(choices),
                 [](const auto &one) { return one.task.task.kind == eval::Kind::choice; });
    eval::Options quick = options_;
    quick.bootstrap = 0;
    eval::Evaluation silent;
    silent.wording = evaluation_.wording;
    Nobody nobody(run_->tokenizer, longest_);
    eval::evaluate(nobody, choices, quick, silent);
  }

  // Removes the rows from a step on, or begins the table.
  std::string keep_rows(std::int64_t step) const {
    std::string kept = kHead;
    if (fs::exists(table())) {
      std::istringstream in(base::read_file(table(), Exit::machine, "E314"));
      for (std::string line; std::getline(in, line);)
        if (!line.empty() && line[0] >= '0' && line[0] <= '9' &&
            std::strtoll(line.c_str(), nullptr, 10) < step)
          kept += line + "\n";
    }
    base::write_file_atomic(table(), kept, Exit::machine, "E314");
    return kept;
  }

  template <class A> void ask(const model::Weights<A> &weights, std::int64_t step, bool last) {
    if (!last && (options_.every == 0 || step % options_.every != 0)) return;
    const base::Stopwatch watch;
    const bool kept = last || options_.samples;
    evaluation_.directory =
        kept ? directory() / "evaluation" / fmt::format("step-{:08}", step) : fs::path();
    evaluation_.model =
        fmt::format("step {} of a run, {}", step, std::is_same_v<A, float> ? "f32" : "bf16");
    // Cache and arena live as long as this object: between examinations they take no memory.
    eval::EngineModel<A> model(run_->options.dims, weights, run_->tokenizer, longest_, engine_,
                               group_);
    eval::together(run_->ranks.world(), model, [&](eval::Model &leader) {
      tell(eval::evaluate(leader, tasks_, options_, evaluation_), step, watch, last);
    });
  }

  void tell(const std::vector<eval::TaskResult> &results, std::int64_t step,
            const base::Stopwatch &watch, bool last) const {
    std::string rows = keep_rows(step);
    for (const eval::TaskResult &result : results)
      for (const eval::Metric &m : result.metrics)
        rows +=
            fmt::format("{},{},{},{},{},{},{},{},{}\n", step, result.task, result.version, m.filter,
                        result.shots, m.metric, number(m.value), number(m.error), m.samples);
    base::write_file_atomic(table(), rows, Exit::machine, "E314");
    base::log::info("evaluation of step {} in {:.1f} s\n{}", step, watch.seconds(),
                    eval::table(results, options_.groups));
    for (const eval::TaskResult &result : results)
      if (last && result.shortened > 0)
        base::log::info("evaluation: {}: {} of {} prompts were longer than {} tokens and lost "
                        "their beginning (evaluate.max_length)",
                        result.task, result.shortened, result.questions, longest_);
  }

  eval::Options options_;
  infer::EngineOptions engine_;
  sandbox::Options sandbox_;
  std::optional<train::Examined> run_;
  std::int64_t longest_ = 0;
  infer::Group group_;
  // Of rank 0.
  std::vector<eval::Prepared> tasks_;
  std::unique_ptr<eval::SandboxRunner> runner_;
  eval::Evaluation evaluation_;
};

} // namespace

std::optional<Examination> read_examination(deck::Deck &deck) {
  if (!deck.has("evaluate")) return {};
  Examination e{eval::read_options(deck), {}, reward::read_sandbox(deck)};
  infer::EngineTable engine;
  deck.read_table("infer", engine);
  e.engine = infer::engine_options(deck, engine, 0);
  for (const char *key : {"checkpoint", "directory", "precision", "existing"})
    if (deck.has("evaluate", key))
      deck.fail("evaluate", key, "E320",
                "A training run asks its own weights, as they are, and writes into its own "
                "directory: leave the key out.");
  return e;
}

void check_examination(const deck::Deck &deck, const train::Options &run) {
  if (run.dims.head != arch::Head::language)
    deck.fail(
        "evaluate", "", "E319",
        "Phase reward trains a model that gives numbers and cannot be asked. Leave [evaluate] "
        "out; held-out pairs are its validation.");
}

std::vector<eval::Prepared> prepare(const Examination &examination) {
  return eval::prepare(examination.options, examination.options.programs);
}

std::unique_ptr<train::Examiner> make_examiner(const Examination &examination) {
  return std::make_unique<Examiner>(examination);
}

} // namespace app

// SPDX-License-Identifier: Apache-2.0
#include "train/grpo/rollouts.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/clock.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "infer/engine.hpp"
#include "train/grpo/advantages.hpp"
#include "train/grpo/judges.hpp"

namespace train::grpo {
namespace {

infer::Group group_of(const train::Options &o, const Ranks &ranks) {
  std::vector<infer::Stage> stages;
  const auto parts = cut_into_stages(o, ranks.stages());
  for (std::size_t s = 0; s < parts.size(); ++s)
    stages.push_back({parts[s], ranks.rank_of(static_cast<int>(s), 0)});
  return infer::group_of(ranks.mesh(), stages, ranks.expert_group(o));
}

infer::EngineOptions engine_options(const train::Options &o, int vocabulary) {
  infer::EngineOptions e;
  e.attention =
      o.grpo.attention == Attention::exact ? infer::Attention::exact : infer::Attention::absorbed;
  e.batch = o.grpo.batch, e.rows = std::max<std::int64_t>(512, o.grpo.batch);
  e.tokens = o.grpo.cache, e.sequence = o.batch.sequence + 1, e.vocabulary = vocabulary;
  return e;
}

template <class A> class Rollouts final : public Rounds<A> {
public:
  Rollouts(const train::Options &options, const Ranks &ranks, Answers &answers)
      : o_(options), ranks_(ranks), answers_(answers), judges_(o_, ranks, answers),
        group_(group_of(options, ranks)),
        engine_options_(engine_options(options, answers.vocabulary())),
        arena_("train::grpo",
               infer::Engine<A>::arena_bytes(options.dims, engine_options_, group_)) {}

  void begin(Trainer<A> &trainer) override {
    if (o_.grpo.beta > 0) reference_ = trainer.copy_of_weights();
  }

  void before_step(Trainer<A> &trainer, const Counters &counters) override {
    const std::int64_t at = counters.cursor.next_sample, round = at / answers_.round_size();
    if (round == answers_.round) return;
    HADAL_CHECK(at % answers_.round_size() == 0, "sample {} lies within a round that is not there",
                at);
    const base::Stopwatch watch;
    ask(trainer, round);
    seconds_ = watch.seconds();
    judges_.judge(answers_.answers);
    weigh();
    if (o_.grpo.beta > 0) refer(trainer);
    write_samples(round);
  }

  bool complete(const Counters &counters) const override {
    return counters.cursor.next_sample % answers_.round_size() == 0;
  }

  std::vector<std::string> columns() const override {
    std::vector<std::string> names = {
        "reward",          "reward_std",         "correct", "answer_tokens", "ended", "flat_groups",
        "rollout_seconds", "rollout_difference", "entropy", "clip_share",    "kl",    "ratio"};
    for (const auto &rule : o_.reward.rules) names.push_back("reward_" + rule.name);
    return names;
  }
  std::vector<std::string> units() const override {
    std::vector<std::string> units = {"1",
                                      "1",
                                      "share of answers",
                                      "tokens",
                                      "share of answers",
                                      "share of groups",
                                      "s",
                                      "nats",
                                      "nats a token",
                                      "share of ratios",
                                      "nats",
                                      "1"};
    units.resize(columns().size(), "1");
    return units;
  }
  std::vector<double> values(const StepReport &r) const override {
    const auto per = [&](std::size_t sum, std::size_t by) {
      return r.extra.size() > by && r.extra[by] > 0 ? r.extra[sum] / r.extra[by] : 0.0;
    };
    using layers::policy::Sum;
    std::vector<double> v = mean_;
    v.push_back(seconds_);
    v.push_back(r.first_sample % answers_.round_size() == 0 ? r.apart : last_apart_);
    last_apart_ = v.back();
    v.push_back(per(Sum::entropy, Sum::tokens));
    v.push_back(per(Sum::clipped, Sum::terms));
    v.push_back(per(Sum::kl, Sum::terms));
    v.push_back(per(Sum::ratio, Sum::terms));
    v.insert(v.end(), parts_.begin(), parts_.end());
    return v;
  }

  std::string remark() const override {
    return fmt::format("reward {:.3f} | {:.1f} tokens", mean_[0], mean_[3]);
  }

private:
  void ask(Trainer<A> &trainer, std::int64_t round) {
    tensor::Context ctx = trainer.context();
    tensor::Context own{ctx.exec, arena_, ctx.mesh, nullptr};
    if (!engine_)
      engine_ = std::make_unique<infer::Engine<A>>(o_.dims, trainer.weights(), engine_options_,
                                                   &answers_.tokenizer(), group_);
    std::vector<infer::Request> requests;
    for (std::int64_t p = 0; p < o_.grpo.prompts; ++p) {
      const Problem &problem = answers_.prompts.at(round * o_.grpo.prompts + p);
      infer::Request r;
      r.prompt = problem.prompt, r.samples = o_.grpo.group;
      r.sampling.temperature = o_.grpo.temperature, r.sampling.top_p = o_.grpo.top_p;
      r.sampling.seed = static_cast<std::uint64_t>(o_.run.seed);
      r.sampling.max_tokens =
          std::min(o_.grpo.max_tokens,
                   o_.batch.sequence + 1 - static_cast<std::int64_t>(problem.prompt.size()));
      r.stream = static_cast<std::uint64_t>(round * answers_.round_size() + p * o_.grpo.group);
      r.stop_tokens = {answers_.tokenizer().eos()};
      r.stop_strings = o_.grpo.stop;
      requests.push_back(std::move(r));
    }
    const auto results = engine_->run(own, requests);
    answers_.answers.clear();
    for (std::size_t p = 0; p < results.size(); ++p)
      for (const infer::Answer &a : results[p].answers) {
        Answered answered;
        answered.problem =
            &answers_.prompts.at(round * o_.grpo.prompts + static_cast<std::int64_t>(p));
        answered.tokens = a.tokens, answered.logp = a.logprobs, answered.text = a.text;
        answered.ended = a.finish != infer::Finish::length;
        answers_.answers.push_back(std::move(answered));
      }
    answers_.round = round;
  }

  void weigh() {
    auto &all = answers_.answers;
    std::vector<double> outcomes;
    std::vector<Steps *> steps;
    for (Answered &a : all) outcomes.push_back(a.outcome), steps.push_back(&a.steps);
    const auto advantage = advantages(outcomes, o_.grpo.group, o_.grpo.spread);
    weigh_steps(steps, o_.grpo.group, o_.grpo.spread);
    double sum = 0, squares = 0, correct = 0, tokens = 0, ended = 0;
    parts_.assign(o_.reward.rules.size(), 0.0);
    const auto n = static_cast<double>(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].advantage = advantage[i];
      sum += all[i].reward, correct += all[i].correct ? 1 : 0, ended += all[i].ended ? 1 : 0;
      tokens += static_cast<double>(all[i].tokens.size());
      for (std::size_t k = 0; k < parts_.size(); ++k) parts_[k] += all[i].parts[k] / n;
    }
    for (const Answered &a : all) squares += (a.reward - sum / n) * (a.reward - sum / n);
    mean_ = {sum / n,     std::sqrt(squares / n),
             correct / n, tokens / n,
             ended / n,   flat_groups(outcomes, steps, o_.grpo.group)};
  }

  // Log-probabilities under the weights that the run started from, of the answers that this rank's pipeline will train on.
  void refer(Trainer<A> &trainer) {
    const std::int64_t per = o_.batch.micro_batch, batch = o_.batch.global_batch, n = batch / per,
                       own = n / ranks_.mesh().place.dp;
    for (std::int64_t step = 0; step < answers_.round_size(); step += batch)
      for (std::int64_t m = 0; m < own; ++m) {
        const std::int64_t first = step + ranks_.global_micro_batch(m, n) * per;
        std::vector<data::Sample> samples;
        for (std::int64_t i = 0; i < per; ++i) samples.push_back(answers_.sample(first + i));
        const auto logp = trainer.log_probabilities(reference_.weights, samples);
        for (std::int64_t i = 0; i < per; ++i) {
          Answered &a = answers_.answers[static_cast<std::size_t>(first + i)];
          const auto from = logp[static_cast<std::size_t>(i)].begin() +
                            static_cast<std::ptrdiff_t>(a.problem->prompt.size());
          a.ref_logp.assign(from, from + static_cast<std::ptrdiff_t>(a.tokens.size()));
        }
      }
  }

  void write_samples(std::int64_t round) const {
    if (!ranks_.first() || o_.grpo.samples_every == 0 || round % o_.grpo.samples_every != 0) return;
    const auto folder = std::filesystem::path(o_.run.directory) / "samples";
    std::error_code error; // told by the write
    std::filesystem::create_directories(folder, error);
    std::string text;
    const auto &rules = o_.reward.rules;
    for (const Answered &a : answers_.answers) {
      nlohmann::ordered_json parts;
      for (std::size_t k = 0; k < rules.size(); ++k) parts[rules[k].name] = a.parts[k];
      nlohmann::ordered_json line = {{"problem", a.problem->place},
                                     {"prompt", answers_.tokenizer().decode(a.problem->prompt)},
                                     {"answer", a.text},
                                     {"tokens", a.tokens.size()},
                                     {"ended", a.ended},
                                     {"reward", a.reward},
                                     {"advantage", a.advantage},
                                     {"parts", parts}};
      for (const Step &step : a.steps)
        line["steps"].push_back(
            {{"end", step.end}, {"reward", step.reward}, {"advantage", step.advantage}});
      text += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    }
    base::write_file_atomic(folder / fmt::format("round-{:06}.jsonl", round), text,
                            base::Exit::machine, "E072");
  }

  const train::Options o_;
  const Ranks &ranks_;
  Answers &answers_;
  Judges<A> judges_;
  infer::Group group_;
  infer::EngineOptions engine_options_;
  tensor::Arena arena_;
  std::unique_ptr<infer::Engine<A>> engine_;
  typename Trainer<A>::Copy reference_;
  std::vector<double> mean_, parts_;
  double seconds_ = 0;
  mutable double last_apart_ = 0;
};

} // namespace

template <class A> std::size_t rollout_bytes(const train::Options &o, const Ranks &ranks) {
  const auto options = engine_options(o, 0);
  const auto group = group_of(o, ranks);
  return infer::Engine<A>::arena_bytes(o.dims, options, group) +
         infer::Engine<A>::cache_bytes(o.dims, options, group);
}
template std::size_t rollout_bytes<float>(const train::Options &, const Ranks &);
template std::size_t rollout_bytes<numerics::bf16>(const train::Options &, const Ranks &);

template <class A>
std::unique_ptr<Rounds<A>> make_rounds(const train::Options &options, const Ranks &ranks,
                                       Answers &answers) {
  return std::make_unique<Rollouts<A>>(options, ranks, answers);
}
template std::unique_ptr<Rounds<float>> make_rounds(const train::Options &, const Ranks &,
                                                    Answers &);
template std::unique_ptr<Rounds<numerics::bf16>> make_rounds(const train::Options &, const Ranks &,
                                                             Answers &);

} // namespace train::grpo

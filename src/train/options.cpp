// SPDX-License-Identifier: Apache-2.0
#include "train/options.hpp"

#include <algorithm>
#include <bit>
#include <filesystem>

#include <fmt/format.h>

#include "arch/options.hpp"
#include "base/text.hpp"
#include "schedule/balance.hpp"
#include "tensor/types.hpp"
#include "train/fingerprint.hpp"

namespace train {
namespace {

void check_batch(const deck::Deck &deck, const Options &o) {
  const std::int64_t unit = o.step_unit();
  if (o.batch.global_batch % unit != 0)
    deck.fail("batch", "global_batch", "E020",
              fmt::format("it must be a multiple of {}: micro_batch ({}) x {}", unit,
                          o.batch.micro_batch,
                          o.run.reproducible == Reproducible::any_layout
                              ? fmt::format("{} shards", o.parallel.shards)
                              : fmt::format("dp ({}){}", o.parallel.dp,
                                            o.parallel.schedule == Schedule::dualpipe
                                                ? " x 2 directions of dualpipe"
                                                : "")));
  if (o.batch.ramp_tokens > 0 &&
      (o.batch.start == 0 || o.batch.start > o.batch.global_batch || o.batch.start % unit != 0))
    deck.fail("batch", "start", "E021",
              fmt::format("a ramp starts between {} and global_batch ({}), in multiples of {}",
                          unit, o.batch.global_batch, unit));
  if (o.batch.start > 0 && o.batch.ramp_tokens == 0)
    deck.fail("batch", "start", "E021", "start needs ramp_tokens");
  if (o.batch.sequence <= o.dims.mtp_depth + 1)
    deck.fail("batch", "sequence", "E022",
              fmt::format("{} MTP modules need sequences of more than {} tokens", o.dims.mtp_depth,
                          o.dims.mtp_depth + 1));
}

void check_stages(const deck::Deck &deck, const Options &o) {
  const auto &p = o.parallel;
  const int stages = schedule::stages_for(p.schedule, static_cast<int>(p.pp));
  if (!p.stages.empty())
    return schedule::check_cut({p.stages.begin(), p.stages.end()}, static_cast<int>(o.dims.layers),
                               stages, deck.where("parallel", "stages"));
  if (stages > o.dims.layers)
    deck.fail("parallel", "pp", "E024",
              fmt::format("{} layers cannot be shared by {} stages on {} pipeline ranks; "
                          "parallel.stages may leave some without layers",
                          o.dims.layers, stages, p.pp));
}

void check_parallel(const deck::Deck &deck, const Options &o) {
  const auto &p = o.parallel;
  if (p.dp % p.ep != 0)
    deck.fail("parallel", "ep", "E014", fmt::format("ep must divide dp ({})", p.dp));
  if (o.dims.moe() && o.dims.experts % p.ep != 0)
    deck.fail("parallel", "ep", "E014",
              fmt::format("{} routed experts cannot be shared evenly by {} expert-parallel ranks",
                          o.dims.experts, p.ep));
  if (p.dispatch == Dispatch::reference && !tensor::kOnHost)
    deck.fail(
        "parallel", "dispatch", "E030",
        "the reference reads the arrays on the host, and this program keeps them on a device");
  if (!std::has_single_bit(static_cast<std::uint64_t>(p.shards)))
    deck.fail("parallel", "shards", "E023", "it must be a power of two");
  const bool any = o.run.reproducible == Reproducible::any_layout;
  if (any && p.schedule == Schedule::dualpipe && p.shards % (2 * p.dp) != 0)
    deck.fail("parallel", "shards", "E023",
              fmt::format("under any_layout it must be a multiple of dp ({}) x 2 directions of "
                          "dualpipe",
                          p.dp));
  if (any && p.shards % p.dp != 0)
    deck.fail("parallel", "shards", "E023",
              fmt::format("it must be a multiple of dp ({}) under any_layout", p.dp));
  check_stages(deck, o);
}

// Every level of a batch ramp has a program: they are multiples of the unit, between these two.
void check_schedule(const deck::Deck &deck, const Options &o) {
  const std::int64_t per_micro_batch = o.batch.micro_batch * o.parallel.dp;
  const std::int64_t most = o.batch.global_batch,
                     least = o.batch.ramp_tokens > 0 ? o.batch.start : most;
  for (const std::int64_t samples : {least, most})
    schedule::check_numbers(o.parallel.schedule, static_cast<int>(o.parallel.pp),
                            static_cast<int>(samples / per_micro_batch),
                            deck.where("parallel", "schedule") + ": [parallel] schedule");
}

void check_rest(const deck::Deck &deck, const Options &o) {
  if (o.rate.tail1_tokens > 0 && o.rate.cosine_tokens == 0)
    deck.fail("rate", "tail_tokens", "E025", "a tail follows the cosine: give cosine_tokens");
  if (o.rate.cosine_tokens > 0 && o.rate.final_rate > o.rate.peak)
    deck.fail("rate", "final", "E025", fmt::format("it must not be above peak ({})", o.rate.peak));
  if (o.train.on_bad_loss == BadLoss::roll_back && o.checkpoint.every == 0 &&
      o.checkpoint.every_time == 0)
    deck.fail("train", "on_bad_loss", "E026",
              "roll_back needs checkpoints: give checkpoint.every or checkpoint.every_time");
  if (o.train.spike_factor != 0 && o.train.spike_factor <= 1)
    deck.fail("train", "spike_factor", "E027", "0, or a number above 1");
}

void check_rounds(const deck::Deck &deck, const Options &o) {
  const std::int64_t answers = o.grpo.prompts * o.grpo.group;
  if (answers % o.batch.global_batch != 0 || o.batch.ramp_tokens > 0)
    deck.fail("batch", "global_batch", "E037",
              fmt::format("it must divide the {} answers of a round (prompts {} x group {}), and "
                          "there is no ramp",
                          answers, o.grpo.prompts, o.grpo.group));
  if (o.train.steps % o.round_steps() != 0)
    deck.fail("train", "steps", "E037",
              fmt::format("it must be a multiple of the {} steps of a round", o.round_steps()));
  if (o.train.on_bad_loss == BadLoss::roll_back)
    deck.fail("train", "on_bad_loss", "E037",
              "a round cannot be left out in part: take \"skip\" or \"stop\"");
}

void check_phase(const deck::Deck &deck, const Options &o) {
  const bool starts = o.run.phase != Phase::pretrain;
  if (starts && o.run.init_from.empty())
    deck.fail(
        "run", "init_from", "E032",
        fmt::format("phase {} starts from the weights of a checkpoint: a step directory, or a "
                    "run directory (its newest checkpoint)",
                    name_of(o.run.phase)));
  if (o.train.epochs > 0 && o.run.phase != Phase::sft && o.run.phase != Phase::reward)
    deck.fail("train", "epochs", "E033",
              fmt::format("phase {} counts in steps: give train.steps", name_of(o.run.phase)));
  if (o.rate.whole_run && (o.rate.cosine_tokens > 0 || o.rate.constant_tokens > 0))
    deck.fail("rate", "whole_run", "E034",
              "it sets constant_tokens and cosine_tokens by itself: leave these out");
  if (o.rate.whole_run && o.batch.ramp_tokens > 0)
    deck.fail("rate", "whole_run", "E034", "not with a ramp of the batch: give cosine_tokens");
  if ((o.run.phase == Phase::reward) != (o.dims.head == arch::Head::reward))
    deck.fail("model", "head", "E036",
              fmt::format("phase {} and head = \"{}\": phase reward trains a model with head = "
                          "\"reward\", the others one with \"language\"",
                          name_of(o.run.phase),
                          o.dims.head == arch::Head::reward ? "reward" : "language"));
  if (o.run.phase == Phase::grpo) check_rounds(deck, o);
  const auto &yarn = o.dims.yarn;
  if (o.run.phase == Phase::extend && yarn.on() &&
      static_cast<double>(o.batch.sequence) > yarn.factor * static_cast<double>(yarn.original))
    deck.fail("batch", "sequence", "E035",
              fmt::format("YaRN by factor {} from {} tokens reaches {:.0f}", yarn.factor,
                          yarn.original, yarn.factor * static_cast<double>(yarn.original)));
}

void check_teacher(const deck::Deck &deck, const Options &o) {
  if (!o.teacher.on()) return;
  if (o.run.phase == Phase::reward || o.run.phase == Phase::grpo)
    deck.fail("teacher", "checkpoint", "E390",
              fmt::format("phase {} follows no teacher; phases pretrain, extend and sft can",
                          name_of(o.run.phase)));
  if (o.parallel.pp > 1)
    deck.fail("parallel", "pp", "E391",
              "a teacher is not cut into stages: with [teacher] share the work by dp and ep alone");
  if (o.teacher.top_k > o.dims.vocabulary)
    deck.fail("teacher", "top_k", "E390",
              fmt::format("the vocabulary has {} tokens", o.dims.vocabulary));
}

void check_trace(const deck::Deck &deck, const Options &o) {
  const auto &steps = o.run.trace_steps;
  if (steps.size() != 2 || steps[0] > steps[1])
    deck.fail("run", "trace_steps", "E031", "two numbers: the first and the last step");
}

void check_accepted(const deck::Deck &deck, const Options &o) {
  const auto known = fingerprint_names();
  for (const auto &name : o.run.accept_changes) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    std::string near = base::text::nearest(name, known);
    for (const auto &full : known) // "scale" for "model.router.scale"
      if (near.empty() && full.ends_with("." + name)) near = full;
    deck.fail("run", "accept_changes", "E029",
              fmt::format("it holds a name that no fingerprint has{}; `hadal inspect CHECKPOINT` "
                          "and docs/fingerprint.md show them",
                          near.empty() ? "" : ": did you mean " + near + "?"));
  }
}

} // namespace

const char *name_of(Phase phase) {
  switch (phase) {
  case Phase::pretrain: return "pretrain";
  case Phase::extend: return "extend";
  case Phase::sft: return "sft";
  case Phase::reward: return "reward";
  case Phase::grpo: return "grpo";
  }
  return "";
}

model::Objective Options::objective() const {
  model::Objective o;
  if (run.phase == Phase::reward) o.goal = model::Goal::reward;
  if (teacher.on()) {
    o.goal = model::Goal::distil;
    o.distil = {teacher.weight, teacher.temperature};
    o.teacher = teacher.top_k;
  }
  if (run.phase != Phase::grpo) return o;
  o.goal = model::Goal::policy;
  o.policy = {grpo.ratio, grpo.clip_low, grpo.clip_high, grpo.beta};
  return o;
}

namespace {

// The tables of what the phase reads.
void read_sources(deck::Deck &deck, Options &o) {
  switch (o.run.phase) {
  case Phase::pretrain:
  case Phase::extend: o.data = data::read_options(deck); break;
  case Phase::sft: o.sft = data::read_chat_options(deck); break;
  case Phase::reward: o.pairs = data::read_pair_options(deck); break;
  case Phase::grpo:
    o.grpo = grpo::read_options(deck);
    o.reward = reward::read_options(deck);
    grpo::check_steps(deck, o.grpo, o.reward);
    break;
  }
}

} // namespace

Options read_options(deck::Deck &deck) {
  Options o;
  o.deck_path = deck.path();
  o.deck_name = std::filesystem::path(deck.path()).stem().string();
  deck.read_table("run", o.run);
  o.dims = arch::read_dims(deck);
  deck.read_table("mtp", o.mtp);
  read_sources(deck, o);
  if (deck.has("teacher")) {
    deck.read_table("teacher", o.teacher);
    if (!o.teacher.on())
      deck.fail("teacher", "checkpoint", "E390",
                "name a step directory or a run directory, or leave the table out");
  }
  deck.read_table("batch", o.batch);
  deck.read_table("precision", o.precision);
  deck.read_table("recompute", o.recompute);
  deck.read_table("optimizer", o.optimizer);
  deck.read_table("rate", o.rate);
  deck.read_table("balance", o.balance);
  deck.read_table("average", o.average);
  deck.read_table("parallel", o.parallel);
  deck.read_table("train", o.train);
  deck.read_table("checkpoint", o.checkpoint);
  deck.finish();
  check_phase(deck, o);
  check_parallel(deck, o);
  check_batch(deck, o);
  check_schedule(deck, o);
  check_rest(deck, o);
  check_teacher(deck, o);
  check_trace(deck, o);
  check_accepted(deck, o);
  if (o.run.directory.empty())
    o.run.directory = (std::filesystem::path("checkpoints") / o.deck_name).string();
  return o;
}

std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys() {
  std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> all;
  all.emplace_back("run", deck::declare<RunTable>("run"));
  for (auto &table : arch::declared_keys()) all.push_back(table);
  auto more = deck::declare<optim::MtpLossOptions>("mtp");
  for (auto &[name, keys] : all)
    if (name == "mtp") keys.insert(keys.end(), more.begin(), more.end());
  all.emplace_back("data", deck::declare<data::Options>("data"));
  all.emplace_back("data.source", deck::declare<data::SourceOptions>("data.source"));
  all.emplace_back("teacher", deck::declare<distil::TeacherOptions>("teacher"));
  all.emplace_back("batch", deck::declare<BatchTable>("batch"));
  all.emplace_back("precision", deck::declare<PrecisionTable>("precision"));
  all.emplace_back("recompute", deck::declare<arch::Recompute>("recompute"));
  all.emplace_back("optimizer", deck::declare<optim::AdamwOptions>("optimizer"));
  all.emplace_back("rate", deck::declare<optim::RateOptions>("rate"));
  all.emplace_back("balance", deck::declare<optim::BalanceOptions>("balance"));
  all.emplace_back("average", deck::declare<optim::AverageOptions>("average"));
  all.emplace_back("parallel", deck::declare<ParallelTable>("parallel"));
  all.emplace_back("train", deck::declare<TrainTable>("train"));
  all.emplace_back("checkpoint", deck::declare<CheckpointTable>("checkpoint"));
  return all;
}

} // namespace train

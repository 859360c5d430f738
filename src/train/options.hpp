// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of a pretraining deck that belong to the run itself. Model, data and optimiser declare theirs in their rooms.
#include <cstdint>
#include <string>
#include <vector>

#include "arch/dims.hpp"
#include "arch/recompute.hpp"
#include "data/conversation_options.hpp"
#include "data/options.hpp"
#include "deck/deck.hpp"
#include "layers/dispatch/formats.hpp"
#include "model/objective.hpp"
#include "optim/adamw.hpp"
#include "optim/average.hpp"
#include "optim/schedule.hpp"
#include "reward/options.hpp"
#include "schedule/program.hpp"
#include "train/distil/options.hpp"
#include "train/grpo/options.hpp"

namespace train {

enum class Phase { pretrain, extend, sft, reward, grpo };
const char *name_of(Phase phase); // as the deck spells it
enum class Reproducible { same_layout, any_layout };
enum class Compute { f32, bf16 };
enum class BadLoss { skip, roll_back, stop };
enum class Dispatch { automatic, direct, two_hop, reference };
using Schedule = schedule::Kind;

struct RunTable {
  Phase phase = Phase::pretrain;
  std::string directory, init_from;
  std::vector<std::string> accept_changes;
  std::int64_t seed = 0;
  Reproducible reproducible = Reproducible::same_layout;
  double wall_clock = 0;
  bool trace = false;
  std::vector<std::int64_t> trace_steps;
  template <class R> void keys(R &r) {
    r.choice(phase, "phase", Phase::pretrain,
             {{"pretrain", Phase::pretrain},
              {"extend", Phase::extend},
              {"sft", Phase::sft},
              {"reward", Phase::reward},
              {"grpo", Phase::grpo}},
             "what this deck does: train on text; the same with longer sequences and YaRN, from a "
             "checkpoint; fine-tune on conversations ([sft]); learn which of two answers is better "
             "([pairs]); reinforce what the rewards favour ([grpo], [[reward]]); the last four "
             "from a checkpoint");
    r.key(directory, "directory", "", "where the run writes; empty: checkpoints/<deck name>");
    r.key(seed, "seed", 1, 0, std::int64_t{1} << 62, "", "seed of every random number of the run");
    r.choice(reproducible, "reproducible", Reproducible::same_layout,
             {{"same_layout", Reproducible::same_layout}, {"any_layout", Reproducible::any_layout}},
             "same_layout: equal bits on an equal layout of ranks; any_layout: on every layout "
             "(docs/numerics.md)");
    r.key(init_from, "init_from", "",
          "checkpoint whose weights (nothing else) the run starts from; empty: random weights");
    r.key(accept_changes, "accept_changes",
          "names of the fingerprint (docs/fingerprint.md) that may differ from those of the "
          "checkpoint that the run continues from");
    r.duration(
        wall_clock, "wall_clock", 0, 0, 1e9,
        "the run stops in good order (exit code 75) before this much time is over; 0: no limit");
    r.key(trace, "trace", false,
          "each rank writes what it did when in some steps: trace/rank-00000.json, for Perfetto "
          "(docs/parallelism.md)");
    r.key(trace_steps, "trace_steps", {3, 4}, 1, std::int64_t{1} << 40, "steps",
          "the first and the last step that are traced, counted from the start or restart of the "
          "run");
  }
};
struct BatchTable {
  std::int64_t sequence = 0, micro_batch = 0, global_batch = 0, start = 0, ramp_tokens = 0;
  template <class R> void keys(R &r) {
    r.key(sequence, "sequence", 4096, 8, 1 << 20, "tokens", "tokens in one packed sequence");
    r.key(micro_batch, "micro_batch", 1, 1, 1 << 12, "sequences",
          "sequences in one forward pass on one rank");
    r.key(global_batch, "global_batch", 8, 1, 1 << 22, "sequences",
          "sequences in one optimiser step, all ranks");
    r.key(start, "start", 0, 0, 1 << 22, "sequences",
          "sequences in the first steps of a batch ramp; 0: no ramp");
    r.key(ramp_tokens, "ramp_tokens", 0, 0, std::int64_t{1} << 60, "tokens",
          "the batch grows linearly from start to global_batch over this many tokens");
  }
};
struct PrecisionTable {
  using Format = layers::dispatch::Format;
  Compute compute = Compute::f32;
  layers::dispatch::Formats experts;
  template <class R> void keys(R &r) {
    r.choice(compute, "compute", Compute::f32, {{"f32", Compute::f32}, {"bf16", Compute::bf16}},
             "element type of activations and of the inputs of matrix products; sums, norms, "
             "softmax, router, masters and gradients are f32 always");
    r.choice(experts.dispatch, "dispatch", Format::compute,
             {{"compute", Format::compute}, {"bf16", Format::bf16}},
             "format of the rows that go to the routed experts, and of their gradients; the same "
             "on one rank");
    r.choice(experts.combine, "combine", Format::compute,
             {{"compute", Format::compute}, {"bf16", Format::bf16}, {"f32", Format::f32}},
             "format to which the results of an expert group are rounded after their f32 sum, "
             "and the gradients; the same on one rank");
  }
};
struct ParallelTable {
  std::int64_t dp = 1, ep = 1, pp = 1, shards = 8, ranks_per_node = 0;
  double deadline = 600;
  Schedule schedule = Schedule::accumulate;
  Dispatch dispatch = Dispatch::automatic;
  std::vector<std::int64_t> stages;
  template <class R> void keys(R &r) {
    r.key(dp, "dp", 1, 1, 1 << 20, "ranks", "data-parallel ranks; ranks in all = dp x pp");
    r.key(
        ep, "ep", 1, 1, 1 << 16, "ranks",
        "expert-parallel ranks: groups of consecutive dp ranks that share the experts; divides dp");
    r.key(pp, "pp", 1, 1, 1 << 10, "ranks", "pipeline ranks");
    r.choice(schedule, "schedule", Schedule::accumulate,
             {{"accumulate", Schedule::accumulate},
              {"1f1b", Schedule::one_f_one_b},
              {"zb1p", Schedule::zb1p},
              {"dualpipe", Schedule::dualpipe},
              {"dualpipev", Schedule::dualpipev}},
             "order of the micro-batches on the pipeline");
    r.choice(dispatch, "dispatch", Dispatch::automatic,
             {{"auto", Dispatch::automatic},
              {"direct", Dispatch::direct},
              {"two_hop", Dispatch::two_hop},
              {"reference", Dispatch::reference}},
             "way to the experts of other ranks (docs/communication.md), all with the same bits; "
             "auto: two_hop where an expert group spans nodes and each group of the router lies "
             "on one, else direct; reference: slow, to compare with");
    r.key(stages, "stages", {}, 0, 1 << 16, "layers",
          "layers of each stage, in the order of the model (a stage may have none); empty: stages "
          "of equal cost");
    r.key(shards, "shards", 8, 1, 1 << 12, "shards",
          "virtual data-parallel shards of the law of sums (any_layout); a power of two");
    r.key(ranks_per_node, "ranks_per_node", 0, 0, 1024, "ranks", "0: as the launcher says");
    r.duration(deadline, "deadline", 600, 1, 1e6,
               "a rank that waits longer for another ends the run with exit code 3 (E078); longer "
               "than any step, checkpoint and start of a node");
  }
};
struct TrainTable {
  std::int64_t steps = 0, epochs = 0, validate_every = 0, validation_samples = 0, load_every = 0,
               roll_backs = 0;
  double spike_factor = 0;
  BadLoss on_bad_loss = BadLoss::skip;
  template <class R> void keys(R &r) {
    r.key(steps, "steps", 1000, 0, std::int64_t{1} << 40, "steps", "optimiser steps in all");
    r.key(epochs, "epochs", 0, 0, 1 << 20, "epochs",
          "sft, reward: so often each conversation or pair is read, in place of steps (the last "
          "step is filled up "
          "from the next epoch); 0: steps counts");
    r.key(validate_every, "validate_every", 0, 0, std::int64_t{1} << 40, "steps",
          "validation loss every so many steps, and at the end; 0: at the end only");
    r.key(validation_samples, "validation_samples", 0, 0, std::int64_t{1} << 40, "sequences",
          "held-out sequences that a validation in between reads; the last one reads all; 0: all");
    r.key(load_every, "load_every", 20, 1, 1 << 20, "steps",
          "expert_load.csv has a row for each layer every so many steps");
    r.choice(on_bad_loss, "on_bad_loss", BadLoss::skip,
             {{"skip", BadLoss::skip}, {"roll_back", BadLoss::roll_back}, {"stop", BadLoss::stop}},
             "when a step's loss or gradient is not finite or spikes: drop the step; go back to "
             "the last checkpoint and leave its batch out; end with exit code 4");
    r.key(spike_factor, "spike_factor", 0.0, 0.0, 1e6, "",
          "a loss above this multiple of its running mean is a spike; 0: only values that are not "
          "finite count");
    r.key(roll_backs, "roll_backs", 8, 1, 1 << 20, "",
          "after so many roll-backs to the same checkpoint the run ends with exit code 4");
  }
};
struct CheckpointTable {
  std::int64_t every = 0, keep_last = 2, keep_every = 0;
  double every_time = 0;
  bool at_end = true;
  template <class R> void keys(R &r) {
    r.key(every, "every", 0, 0, std::int64_t{1} << 40, "steps",
          "a checkpoint every so many steps; 0: only at stops");
    r.duration(every_time, "every_time", 0, 0, 1e9,
               "a checkpoint at the latest after so much time; 0: no such limit");
    r.key(keep_last, "keep_last", 2, 1, 1 << 20, "checkpoints", "the newest so many are kept");
    r.key(keep_every, "keep_every", 0, 0, std::int64_t{1} << 40, "steps",
          "steps divisible by this are kept for good; 0: none");
    r.key(at_end, "at_end", true, "a checkpoint after the last step");
  }
};

struct Options {
  std::string deck_path, deck_name; // as given; stem of the file name
  RunTable run;
  BatchTable batch;
  PrecisionTable precision;
  ParallelTable parallel;
  TrainTable train;
  CheckpointTable checkpoint;
  arch::Dims dims;
  arch::Recompute recompute;
  data::Options data;
  data::ChatOptions sft;
  data::PairOptions pairs;
  grpo::Options grpo;
  distil::TeacherOptions teacher;
  reward::Options reward;
  optim::AdamwOptions optimizer;
  optim::RateOptions rate;
  optim::BalanceOptions balance;
  optim::MtpLossOptions mtp;
  optim::AverageOptions average;

  model::Objective objective() const;
  // Optimiser steps that read one round of answers (grpo).
  std::int64_t round_steps() const { return grpo.prompts * grpo.group / batch.global_batch; }
  // Shards of the law of sums in this run: parallel.shards under any_layout, else 1.
  std::int64_t shards() const {
    return run.reproducible == Reproducible::any_layout ? parallel.shards : 1;
  }
  // The samples of every step, those of a ramp too, are a multiple of it: then all ranks, directions and shards have equal shares.
  std::int64_t step_unit() const {
    const std::int64_t directions = parallel.schedule == Schedule::dualpipe ? 2 : 1;
    return batch.micro_batch * (run.reproducible == Reproducible::any_layout
                                    ? parallel.shards
                                    : parallel.dp * directions);
  }
};

// Reads every table of a pretraining deck and checks the keys against each other (E020-E029 with file:line).
Options read_options(deck::Deck &deck);
// Declared keys of all tables, in the order of docs/decks.md.
std::vector<std::pair<std::string, std::vector<deck::KeyInfo>>> declared_keys();

} // namespace train

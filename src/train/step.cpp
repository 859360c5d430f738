// SPDX-License-Identifier: Apache-2.0
#include "train/step.hpp"

#include <cmath>

#include "model/finite.hpp"
#include "numerics/elementwise.hpp"
#include "optim/balance.hpp"
#include "train/memory.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

namespace {

Index largest(const model::Layout &layout) {
  Index most = 0;
  for (const auto &slot : layout.slots()) most = std::max(most, slot.size);
  return most;
}

model::HostSample host(const data::Sample &s) {
  return {s.tokens,    s.segments, s.trained,     s.old_logp,    s.ref_logp,
          s.advantage, s.weight,   s.teacher_ids, s.teacher_logp};
}

// What the loss of a step is divided by: targets, or pairs of answers.
std::vector<Index> divisors(const Options &o, const data::Sample &sample) {
  auto valid = model::valid_targets(host(sample), o.dims.mtp_depth);
  if (o.run.phase == Phase::reward) valid[0] = sample.pairs;
  return valid;
}

// A teacher is followed in training; held-out samples are measured without.
model::Objective measured(const Options &o) {
  const auto objective = o.objective();
  return objective.goal == model::Goal::distil ? model::Objective() : objective;
}

std::vector<Gradients> gradients_of(const Options &o, const Ranks &ranks,
                                    const model::Layout &layout) {
  std::vector<Gradients> all;
  for (const Chunk &chunk : ranks.chunks()) all.emplace_back(layout, chunk.part, ranks.shards(o));
  return all;
}

template <class A> Vec<A> compute_buffer(const State &state) {
  if constexpr (std::is_same_v<A, float>)
    return state.master;
  else
    return Vec<A>("train::compute", state.layout.size());
}

} // namespace

template <class A>
Trainer<A>::Trainer(const Options &options, const Ranks &ranks, State &state,
                    const data::SampleSource &source)
    : options_(options), ranks_(ranks), state_(state), source_(source),
      arena_("train", Pipeline<A>::scratch_bytes(options, ranks)), ctx_{tensor::Exec(), arena_,
                                                                        ranks.mesh().place,
                                                                        nullptr},
      compute_(compute_buffer<A>(state)),
      weights_(model::weights<A>(state.layout, state.master, compute_)),
      gradients_(gradients_of(options, ranks, state.layout)),
      exchange_(ranks, state.layout, state.ownership, gradients_),
      pipeline_(options, ranks, gradients_),
      buffers_(options.batch.micro_batch, options.batch.sequence, options.dims.mtp_depth,
               measured(options)),
      square_sum_(largest(state.layout)), global_norm_(options.dims),
      load_BE_("train::load", pipeline_.moe_blocks(), options.dims.experts) {
  pipeline_.flights().beside([this] { exchange_.progress(); });
}

// Owners round, so that a matrix travels in the compute dtype and every rank has the same bits.
template <class A> void Trainer<A>::weights_changed() {
  if constexpr (!std::is_same_v<A, float>)
    for (const Owned &piece : state_.ownership.pieces())
      if (!piece.slot->plain())
        numerics::convert(ctx_, "train::step::round", Vec<const float>(state_.value(piece)),
                          Vec<A>(compute_.data() + piece.slot->offset + piece.begin, piece.size()));
  if (ranks_.alone()) return;
  exchange_.spread(ctx_, [&](const model::Slot &slot) {
    if (slot.plain()) return Whole{state_.plain(slot).data(), sizeof(float)};
    return Whole{compute_.data() + slot.offset, sizeof(A)};
  });
}

template <class A> typename Trainer<A>::Copy Trainer<A>::copy_of_weights() {
  Copy copy;
  const auto like = [&](const std::string &label, const auto &from) {
    std::decay_t<decltype(from)> to(Kokkos::view_alloc(Kokkos::WithoutInitializing, label),
                                    from.extent(0));
    Kokkos::deep_copy(ctx_.exec, to, from);
    return to;
  };
  copy.master = like("train::copy::master", state_.master);
  if constexpr (std::is_same_v<A, float>)
    copy.compute = copy.master;
  else
    copy.compute = like("train::copy::compute", compute_);
  copy.weights = model::weights<A>(state_.layout, copy.master, copy.compute);
  return copy;
}

template <class A>
std::vector<std::vector<float>>
Trainer<A>::log_probabilities(const model::Weights<A> &weights,
                              const std::vector<data::Sample> &samples) {
  std::vector<model::HostSample> views;
  for (const auto &sample : samples) views.push_back(host(sample));
  const auto rows = pipeline_.log_probabilities(ctx_, weights, buffers_.load(ctx_, views));
  const auto sequence = static_cast<std::size_t>(options_.batch.sequence);
  std::vector<std::vector<float>> all;
  for (std::size_t s = 0; s < samples.size(); ++s) {
    auto &values = all.emplace_back(sequence + 1, 0.0F); // row i has target i + 1
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(s * sequence), sequence,
                values.begin() + 1);
  }
  return all;
}

template <class A> std::size_t Trainer<A>::planned_bytes() const {
  return planned_memory<A>(options_, ranks_, state_.layout).training();
}

// This rank's share of the next `count` samples, in the order of its micro-batches; the others are passed over, so that the cursor
// goes on by all of them. Left out are the ranges that a roll-back named.
template <class A> std::vector<data::Sample> Trainer<A>::draw(std::int64_t count) {
  auto &c = state_.counters;
  for (const auto &[first, last] : c.avoid)
    if (c.cursor.next_sample >= first && c.cursor.next_sample < last)
      source_.skip(c.cursor, last - c.cursor.next_sample);
  const std::int64_t begin = c.cursor.next_sample, per = options_.batch.micro_batch,
                     n = count / per, own = n / ranks_.mesh().place.dp;
  std::vector<data::Sample> samples;
  for (std::int64_t m = 0; m < own; ++m) {
    const std::int64_t at = begin + ranks_.global_micro_batch(m, n) * per;
    source_.skip(c.cursor, at - c.cursor.next_sample);
    for (data::Sample &sample : source_.next(c.cursor, per)) samples.push_back(std::move(sample));
  }
  source_.skip(c.cursor, begin + count - c.cursor.next_sample);
  return samples;
}

template <class A>
void Trainer<A>::run_micro_batches(const std::vector<data::Sample> &samples, StepReport &report) {
  const auto depth = static_cast<std::size_t>(options_.dims.mtp_depth);
  const auto per_micro = static_cast<std::size_t>(options_.batch.micro_batch),
             n = static_cast<std::size_t>(report.samples) / per_micro;
  // The divisors are counted over the global batch before the step.
  std::vector<Index> valid(depth + 1, 0);
  for (const auto &sample : samples) {
    const auto v = divisors(options_, sample);
    for (std::size_t k = 0; k <= depth; ++k) valid[k] += v[k];
  }
  if (ranks_.mesh().place.dp > 1) ranks_.mesh().dp->all_reduce_sum(valid, {"valid targets"});
  const double lambda = optim::lambda_at(options_.mtp, state_.counters.tokens);
  model::LossScales scales;
  scales.main = options_.run.phase == Phase::grpo // the answers bring their weights
                    ? 1.0
                    : 1.0 / static_cast<double>(std::max<Index>(1, valid[0]));
  for (std::size_t k = 1; k <= depth; ++k)
    scales.mtp.push_back(
        lambda / (static_cast<double>(depth) * static_cast<double>(std::max<Index>(1, valid[k]))));
  scales.balance = static_cast<double>(per_micro) / static_cast<double>(report.samples);
  scales.alpha = options_.balance.alpha;

  report.targets = valid[0];
  exchange_.begin_step();
  std::vector<model::HostSample> hosts;
  for (const auto &sample : samples) hosts.push_back(host(sample));
  Ledger ledger(static_cast<std::int64_t>(n), depth,
                static_cast<std::size_t>(pipeline_.moe_blocks()) * per_micro,
                model::extra_names(options_.objective().goal).size());
  pipeline_.run(ctx_, weights_, hosts, scales, load_BE_, ledger);
  report.where = pipeline_.first_bad_activation();
  ledger.together(ranks_.world());
  sum_losses(ledger, n, valid, report);
}

// Micro-batches are added in order within a shard, shards in a tree, on whatever ranks they were.
template <class A>
void Trainer<A>::sum_losses(const Ledger &ledger, std::size_t n, const std::vector<Index> &valid,
                            StepReport &report) const {
  const auto shards = static_cast<std::size_t>(options_.shards());
  const auto sum = [&](const auto &value) {
    std::vector<double> sums(shards, 0.0);
    for (std::size_t m = 0; m < n; ++m) sums[m * shards / n] += value(static_cast<std::int64_t>(m));
    return optim::tree_sum(sums);
  };
  const auto mean = [](double total, Index targets) {
    return total / static_cast<double>(std::max<Index>(1, targets));
  };
  report.loss = mean(sum([&](std::int64_t m) { return ledger.main(m); }), valid[0]);
  for (std::size_t k = 1; k < valid.size(); ++k)
    report.mtp.push_back(mean(sum([&](std::int64_t m) { return ledger.mtp(m, k - 1); }), valid[k]));
  for (std::size_t i = 0; i < ledger.extras(); ++i)
    report.extra.push_back(sum([&](std::int64_t m) { return ledger.extra(m, i); }));
  for (std::size_t m = 0; m < n; ++m)
    report.apart = std::max(report.apart, ledger.apart(static_cast<std::int64_t>(m)));
  report.balance =
      sum([&](std::int64_t m) { return ledger.balance(m); }) / static_cast<double>(report.samples);
}

template <class A> void Trainer<A>::judge(StepReport &report) {
  double all = report.loss + report.balance + report.grad_norm;
  for (double l : report.mtp) all += l;
  if (!std::isfinite(all))
    report.verdict = Verdict::not_finite;
  else if (options_.train.spike_factor > 0 && state_.counters.mean_loss > 0 &&
           report.loss > options_.train.spike_factor * state_.counters.mean_loss)
    report.verdict = Verdict::spike;
}

template <class A> std::string Trainer<A>::locate() {
  model::FiniteScan scan(ctx_);
  for (const Owned &piece : state_.ownership.pieces())
    scan.look("weights", piece.slot->spec.name.c_str(), state_.value(piece));
  for (const Owned &piece : state_.ownership.pieces())
    if (piece.slot->spec.trained())
      scan.look("gradient", piece.slot->spec.name.c_str(), exchange_.gradient(piece));
  return scan.where();
}

template <class A> double Trainer<A>::gradient_squares() {
  if (!ranks_.alone())
    return global_norm_.squares(ctx_, ranks_, state_.ownership, exchange_, square_sum_);
  double squares = 0;
  for (const Owned &piece : state_.ownership.pieces())
    if (piece.slot->spec.trained())
      squares += square_sum_(ctx_, Vec<const float>(exchange_.gradient(piece)));
  return squares;
}

// MTP modules may be kept as they are; a reward model's language head has no gradient, and decay alone must not move it.
bool frozen(const Options &o, const std::string &name) {
  if (o.run.phase == Phase::reward && name == "head") return true;
  if (o.mtp.train || !name.starts_with("layers.")) return false;
  return std::atoll(name.c_str() + 7) >= o.dims.layers;
}

template <class A> void Trainer<A>::move_biases() {
  const double gamma = optim::gamma_at(options_.balance, state_.counters.tokens);
  if (!options_.dims.router_bias || gamma <= 0) return;
  for (Index b = 0; b < pipeline_.moe_blocks(); ++b) {
    const auto *slot = state_.layout.find(
        "layers." + std::to_string(options_.dims.dense_layers + b) + ".router.bias");
    if (!slot || frozen(options_, slot->spec.name)) continue; // no slot: of another stage
    optim::move_bias(
        ctx_, gamma,
        Vec<const std::int64_t>(load_BE_.data() + b * options_.dims.experts, options_.dims.experts),
        state_.plain(*slot));
  }
}

template <class A> void Trainer<A>::update(const StepReport &report) {
  const model::Computing span(&flights(), {"update"});
  auto &c = state_.counters;
  ++c.updates;
  const double limit = options_.optimizer.max_norm;
  const float scale = report.clipped ? static_cast<float>(limit / report.grad_norm) : 1.0F;
  for (const Owned &piece : state_.ownership.pieces()) {
    const auto &slot = *piece.slot;
    if (!slot.spec.trained() || frozen(options_, slot.spec.name)) continue;
    const Index n = piece.size();
    const double decay = slot.spec.decay ? options_.optimizer.decay : 0.0;
    const Vec<const float> g = exchange_.gradient(piece);
    const Vec<float> w = state_.value(piece);
    if (state_.bf16_moments())
      optim::adamw(ctx_, options_.optimizer, report.rate, decay, c.updates, scale, g, w,
                   Vec<numerics::bf16>(state_.first.bf16.data() + piece.at, n),
                   Vec<numerics::bf16>(state_.second.bf16.data() + piece.at, n));
    else
      optim::adamw(ctx_, options_.optimizer, report.rate, decay, c.updates, scale, g, w,
                   Vec<float>(state_.first.f32.data() + piece.at, n),
                   Vec<float>(state_.second.f32.data() + piece.at, n));
  }
  move_biases();
  weights_changed();
  if (state_.average.extent(0) == 0) return;
  tensor::fence(ctx_, "train::step::average"); // reason: the average lives on the host
  for (const Owned &piece : state_.ownership.pieces())
    optim::update_average(
        options_.average.beta,
        Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, state_.value(piece)),
        optim::HostFloats(state_.average.data() + piece.at,
                          static_cast<std::size_t>(piece.size())));
}

// Each rank counts its own tokens in its own stages.
template <class A> void Trainer<A>::read_loads(StepReport &report) {
  auto loads = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, load_BE_);
  if (!ranks_.alone()) {
    ranks_.world().all_reduce_sum({loads.data(), loads.size()}, {"expert loads"});
    Kokkos::deep_copy(load_BE_, loads);
  }
  report.load_BE.assign(loads.data(), loads.data() + loads.size());
}

template <class A> StepReport Trainer<A>::step() {
  auto &c = state_.counters;
  const std::int64_t count =
      optim::batch_at(options_.batch.start, options_.batch.global_batch, options_.batch.ramp_tokens,
                      options_.step_unit(), c.tokens);
  StepReport report;
  auto samples = draw(count);
  if (teacher_) teacher_(samples);
  report.first_sample = c.cursor.next_sample - count, report.samples = count;
  report.rate = optim::rate_at(options_.rate, c.step, c.tokens);
  numerics::fill(ctx_, "train::step::clear_load", numerics::flat(load_BE_), std::int64_t{0});
  run_micro_batches(samples, report);
  {
    const model::Computing span(&flights(), {"sum of gradients"});
    exchange_.finish(ctx_);
  }
  report.grad_norm = std::sqrt(gradient_squares());
  report.clipped =
      options_.optimizer.max_norm > 0 && report.grad_norm > options_.optimizer.max_norm;
  judge(report);
  read_loads(report);
  if (report.verdict == Verdict::good) {
    update(report);
    c.mean_loss = c.mean_loss == 0 ? report.loss : 0.9 * c.mean_loss + 0.1 * report.loss;
  } else {
    if (report.verdict == Verdict::not_finite) {
      if (report.where.empty()) report.where = locate();
      if (!ranks_.alone()) // the first rank that found something speaks
        for (const std::string &where :
             ranks_.world().all_gather_text(report.where, {"first bad value"}))
          if (report.where = where; !where.empty()) break;
    }
    ++c.skipped;
  }
  ++c.step;
  c.samples += count, c.tokens += count * options_.batch.sequence;
  return report;
}

template <class A>
Validation Trainer<A>::validate(const data::Samples &held_out, std::int64_t count) {
  const std::int64_t all = held_out.validation_samples(), per_micro = options_.batch.micro_batch;
  const std::int64_t n = count > 0 ? std::min(count, all) : all;
  Validation v;
  std::vector<double> sums; // of the loss, then what the objective adds
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t take = n - i >= per_micro ? per_micro : 1;
    if (take == 1 && per_micro != 1 && !single_)
      single_ =
          std::make_unique<model::BatchBuffers>(1, options_.batch.sequence, 0, measured(options_));
    std::vector<data::Sample> samples;
    std::vector<model::HostSample> views;
    for (std::int64_t j = 0; j < take; ++j) samples.push_back(held_out.validation(i + j));
    for (const auto &sample : samples) {
      views.push_back(host(sample));
      v.tokens += divisors(options_, sample)[0];
    }
    const auto added = pipeline_.evaluate(
        ctx_, weights_, (take == per_micro ? buffers_ : *single_).load(ctx_, views));
    sums.resize(added.size(), 0.0);
    for (std::size_t k = 0; k < added.size(); ++k) sums[k] += added[k];
    i += take;
  }
  v.bytes = held_out.validation_bytes(n);
  if (sums.empty()) return v;
  if (v.tokens > 0) v.loss = sums[0] / static_cast<double>(v.tokens);
  if (v.bytes > 0) v.bits_per_byte = sums[0] / std::log(2.0) / static_cast<double>(v.bytes);
  v.extra.assign(sums.begin() + 1, sums.end());
  return v;
}

template class Trainer<float>;
template class Trainer<numerics::bf16>;

} // namespace train

// SPDX-License-Identifier: Apache-2.0
#include "train/step.hpp"

#include <cmath>

#include "model/finite.hpp"
#include "numerics/elementwise.hpp"
#include "optim/balance.hpp"

namespace train {

using tensor::Index;
using tensor::Vec;

namespace {

Index largest(const model::Layout &layout) {
  Index most = 0;
  for (const auto &slot : layout.slots()) most = std::max(most, slot.size);
  return most;
}

model::HostSample host(const data::Sample &sample) { return {sample.tokens, sample.segments}; }

template <class A> Vec<A> compute_buffer(const State &state) {
  if constexpr (std::is_same_v<A, float>)
    return state.master;
  else
    return Vec<A>("train::compute", state.layout.size());
}

} // namespace

template <class A>
Trainer<A>::Trainer(const Options &options, State &state, const SampleSource &source)
    : options_(options), state_(state), source_(source),
      stage_(options.dims, options.recompute, options.batch.micro_batch, options.batch.sequence),
      arena_("train", stage_.arena_bytes()), ctx_{tensor::Exec(), arena_, {}, nullptr},
      compute_(compute_buffer<A>(state)),
      weights_(model::weights<A>(state.layout, state.master, compute_)),
      gradients_(state.layout, options.shards()),
      buffers_(options.batch.micro_batch, options.batch.sequence, options.dims.mtp_depth),
      square_sum_(largest(state.layout)),
      load_BE_("train::load", stage_.moe_blocks(), options.dims.experts) {
  weights_changed();
}

template <class A> void Trainer<A>::weights_changed() {
  model::refresh_compute<A>(ctx_, state_.layout, Vec<const float>(state_.master), compute_);
}

template <class A> std::size_t Trainer<A>::planned_bytes() const {
  const std::size_t copies =
      std::is_same_v<A, float> ? 0 : sizeof(A) * static_cast<std::size_t>(state_.layout.size());
  return state_.device_bytes() + copies + gradients_.bytes() + arena_.capacity();
}

// The next samples, without the ranges that a roll-back left out.
template <class A> std::vector<data::Sample> Trainer<A>::draw(std::int64_t count) {
  auto &c = state_.counters;
  for (const auto &[first, last] : c.avoid)
    if (c.cursor.next_sample >= first && c.cursor.next_sample < last)
      source_.skip(c.cursor, last - c.cursor.next_sample);
  return source_.next(c.cursor, count);
}

template <class A>
void Trainer<A>::run_micro_batches(const std::vector<data::Sample> &samples, StepReport &report) {
  const auto depth = static_cast<std::size_t>(options_.dims.mtp_depth);
  const auto per_micro = static_cast<std::size_t>(options_.batch.micro_batch),
             n = samples.size() / per_micro;
  const auto shards = static_cast<std::size_t>(options_.shards());
  // The divisors are counted over the global batch before the step.
  std::vector<Index> valid(depth + 1, 0);
  for (const auto &sample : samples) {
    const auto v = model::valid_targets(host(sample), options_.dims.mtp_depth);
    for (std::size_t k = 0; k <= depth; ++k) valid[k] += v[k];
  }
  const double lambda = optim::lambda_at(options_.mtp, state_.counters.tokens);
  model::LossScales scales;
  scales.main = 1.0 / static_cast<double>(std::max<Index>(1, valid[0]));
  for (std::size_t k = 1; k <= depth; ++k)
    scales.mtp.push_back(
        lambda / (static_cast<double>(depth) * static_cast<double>(std::max<Index>(1, valid[k]))));
  scales.balance = static_cast<double>(per_micro) / static_cast<double>(samples.size());
  scales.alpha = options_.balance.alpha;

  gradients_.begin_step();
  std::vector<std::vector<double>> shard_sums(depth + 2, std::vector<double>(shards, 0.0));
  std::vector<model::HostSample> micro(per_micro);
  for (std::size_t m = 0; m < n; ++m) {
    const std::size_t shard = m * shards / n;
    for (std::size_t i = 0; i < per_micro; ++i) micro[i] = host(samples[m * per_micro + i]);
    const model::MicroBatch batch = buffers_.load(ctx_, micro);
    const model::MicroLoss loss = stage_.forward_backward(ctx_, weights_, batch, scales,
                                                          gradients_.open_shard(ctx_), load_BE_);
    if (report.where.empty()) report.where = stage_.first_bad_activation();
    shard_sums[0][shard] += loss.main;
    for (std::size_t k = 1; k <= depth; ++k) shard_sums[k][shard] += loss.mtp[k - 1];
    shard_sums[depth + 1][shard] += loss.balance();
    if (m + 1 == n || (m + 1) * shards / n != shard) gradients_.close_shard(ctx_);
  }
  report.loss = optim::tree_sum(shard_sums[0]) / static_cast<double>(std::max<Index>(1, valid[0]));
  for (std::size_t k = 1; k <= depth; ++k)
    report.mtp.push_back(optim::tree_sum(shard_sums[k]) /
                         static_cast<double>(std::max<Index>(1, valid[k])));
  report.balance = optim::tree_sum(shard_sums[depth + 1]) / static_cast<double>(samples.size());
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

template <class A> std::string Trainer<A>::locate(Vec<float> gradient) {
  model::FiniteScan scan(ctx_);
  for (const auto &slot : state_.layout.slots())
    scan.look("weights", slot.spec.name.c_str(),
              Vec<float>(state_.master.data() + slot.offset, slot.size));
  for (const auto &slot : state_.layout.slots())
    scan.look("gradient", slot.spec.name.c_str(),
              Vec<float>(gradient.data() + slot.offset, slot.size));
  return scan.where();
}

template <class A> void Trainer<A>::update(const StepReport &report, Vec<float> gradient) {
  auto &c = state_.counters;
  ++c.updates;
  const double limit = options_.optimizer.max_norm;
  const float scale = report.clipped ? static_cast<float>(limit / report.grad_norm) : 1.0F;
  for (const auto &slot : state_.layout.slots()) {
    if (!slot.spec.trained()) continue;
    const double decay = slot.spec.decay ? options_.optimizer.decay : 0.0;
    const Vec<const float> g(gradient.data() + slot.offset, slot.size);
    const Vec<float> w(state_.master.data() + slot.offset, slot.size);
    if (state_.bf16_moments())
      optim::adamw(ctx_, options_.optimizer, report.rate, decay, c.updates, scale, g, w,
                   Vec<numerics::bf16>(state_.first.bf16.data() + slot.offset, slot.size),
                   Vec<numerics::bf16>(state_.second.bf16.data() + slot.offset, slot.size));
    else
      optim::adamw(ctx_, options_.optimizer, report.rate, decay, c.updates, scale, g, w,
                   Vec<float>(state_.first.f32.data() + slot.offset, slot.size),
                   Vec<float>(state_.second.f32.data() + slot.offset, slot.size));
  }
  const double gamma = optim::gamma_at(options_.balance, c.tokens);
  if (options_.dims.router_bias && gamma > 0) {
    for (Index b = 0; b < stage_.moe_blocks(); ++b) {
      const auto &slot = state_.layout.at(
          "layers." + std::to_string(options_.dims.dense_layers + b) + ".router.bias");
      optim::move_bias(ctx_, gamma,
                       Vec<const std::int64_t>(load_BE_.data() + b * options_.dims.experts,
                                               options_.dims.experts),
                       Vec<float>(state_.master.data() + slot.offset, slot.size));
    }
  }
  weights_changed();
  if (state_.average.extent(0) > 0) {
    tensor::fence(ctx_, "train::step::average"); // reason: the average lives on the host
    optim::update_average(options_.average.beta,
                          Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, state_.master),
                          state_.average);
  }
}

template <class A> void Trainer<A>::read_loads(StepReport &report) {
  auto loads = Kokkos::create_mirror_view_and_copy(Kokkos::HostSpace{}, load_BE_);
  report.load_BE.assign(loads.data(), loads.data() + loads.size());
}

template <class A> StepReport Trainer<A>::step() {
  auto &c = state_.counters;
  const std::int64_t unit = options_.batch.micro_batch * options_.shards();
  const std::int64_t count = optim::batch_at(options_.batch.start, options_.batch.global_batch,
                                             options_.batch.ramp_tokens, unit, c.tokens);
  StepReport report;
  const auto samples = draw(count);
  report.first_sample = c.cursor.next_sample - count, report.samples = count;
  report.rate = optim::rate_at(options_.rate, c.step, c.tokens);
  numerics::fill(ctx_, "train::step::clear_load", numerics::flat(load_BE_), std::int64_t{0});
  run_micro_batches(samples, report);
  const Vec<float> gradient = gradients_.finish(ctx_);
  double squares = 0;
  for (const auto &slot : state_.layout.slots())
    if (slot.spec.trained())
      squares += square_sum_(ctx_, Vec<const float>(gradient.data() + slot.offset, slot.size));
  report.grad_norm = std::sqrt(squares);
  report.clipped =
      options_.optimizer.max_norm > 0 && report.grad_norm > options_.optimizer.max_norm;
  judge(report);
  read_loads(report);
  if (report.verdict == Verdict::good) {
    update(report, gradient);
    c.mean_loss = c.mean_loss == 0 ? report.loss : 0.9 * c.mean_loss + 0.1 * report.loss;
  } else {
    if (report.verdict == Verdict::not_finite && report.where.empty())
      report.where = locate(gradient);
    ++c.skipped;
  }
  ++c.step;
  c.samples += count, c.tokens += count * options_.batch.sequence;
  return report;
}

template <class A>
Validation Trainer<A>::validate(const data::Sampler &sampler, std::int64_t count) {
  const std::int64_t all = sampler.validation_samples(), per_micro = options_.batch.micro_batch;
  const std::int64_t n = count > 0 ? std::min(count, all) : all;
  Validation v;
  double sum = 0;
  for (std::int64_t i = 0; i < n;) {
    const std::int64_t take = n - i >= per_micro ? per_micro : 1;
    if (take == 1 && per_micro != 1 && !single_)
      single_ = std::make_unique<model::BatchBuffers>(1, options_.batch.sequence, 0);
    std::vector<data::Sample> samples;
    std::vector<model::HostSample> views;
    for (std::int64_t j = 0; j < take; ++j) samples.push_back(sampler.validation(i + j));
    for (const auto &sample : samples) {
      views.push_back(host(sample));
      v.tokens += model::valid_targets(views.back(), 0)[0];
    }
    sum +=
        stage_.forward(ctx_, weights_, (take == per_micro ? buffers_ : *single_).load(ctx_, views))
            .main;
    i += take;
  }
  v.bytes = sampler.validation_bytes(n);
  if (v.tokens > 0) v.loss = sum / static_cast<double>(v.tokens);
  if (v.bytes > 0) v.bits_per_byte = sum / std::log(2.0) / static_cast<double>(v.bytes);
  return v;
}

template class Trainer<float>;
template class Trainer<numerics::bf16>;

} // namespace train

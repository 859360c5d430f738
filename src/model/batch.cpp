// SPDX-License-Identifier: Apache-2.0
#include "model/batch.hpp"

#include <algorithm>

namespace model {
namespace {

// Segment of each token of a sample, and its start.
void walk(const HostSample &sample, std::vector<std::int32_t> &segment,
          std::vector<std::int32_t> &start) {
  const auto n = sample.tokens.size();
  segment.assign(n, 0), start.assign(n, 0);
  std::size_t next = 1;
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) segment[i] = segment[i - 1], start[i] = start[i - 1];
    if (next < sample.segments.size() && static_cast<std::size_t>(sample.segments[next]) == i) {
      ++segment[i], start[i] = static_cast<std::int32_t>(i), ++next;
    }
  }
}

} // namespace

std::vector<Index> valid_targets(const HostSample &sample, Index mtp_depth) {
  std::vector<std::int32_t> segment, start;
  walk(sample, segment, start);
  std::vector<Index> valid(static_cast<std::size_t>(mtp_depth) + 1, 0);
  for (std::size_t k = 0; k < valid.size(); ++k)
    for (std::size_t i = 0; i + k + 1 < segment.size(); ++i)
      valid[k] += segment[i + k + 1] == segment[i] && sample.counts(i + k + 1);
  return valid;
}

std::vector<Index> answer_rows(const HostSample &sample) {
  std::vector<std::int32_t> segment, start;
  walk(sample, segment, start);
  std::vector<Index> rows;
  const std::size_t last = segment.size() - 1; // a target only
  for (std::size_t i = 0; i < last;) {
    bool counts = false;
    std::size_t end = i;
    for (; end < segment.size() && segment[end] == segment[i]; ++end)
      counts = counts || sample.counts(end);
    if (counts) rows.push_back(static_cast<Index>(std::min(end, last)) - 1);
    i = end;
  }
  return rows;
}

template <class T>
BatchBuffers::Both<T>::Both(const char *name, Index size)
    : device(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(name)), size),
      host(Kokkos::view_alloc(Kokkos::WithoutInitializing, std::string(name)), size) {}

template <class T>
void BatchBuffers::Both<T>::load(tensor::Context &ctx, std::span<const HostSample> samples,
                                 std::span<const T> HostSample::*values, Index rows, Index width) {
  Index at = 0;
  for (const HostSample &sample : samples) {
    const std::span<const T> from = sample.*values;
    HADAL_CHECK(from.size() == sample.tokens.size() * static_cast<std::size_t>(width),
                "{} values told of {} tokens, {} each", from.size(), sample.tokens.size(), width);
    for (Index i = width; i < (rows + 1) * width; ++i)
      host(at++) = from[static_cast<std::size_t>(i)]; // row i is about token i + 1
  }
  Kokkos::deep_copy(ctx.exec, device, host);
}

Told BatchBuffers::load_told(tensor::Context &ctx, std::span<const HostSample> samples) {
  Told told;
  const Index T = samples_ * sequence_, K = objective_.teacher;
  if (objective_.goal == Goal::policy) {
    old_.load(ctx, samples, &HostSample::old_logp, sequence_, 1);
    advantage_.load(ctx, samples, &HostSample::advantage, sequence_, 1);
    weight_.load(ctx, samples, &HostSample::weight, sequence_, 1);
    told.old_T = old_.device, told.advantage_T = advantage_.device, told.weight_T = weight_.device;
    bool reference = objective_.policy.beta != 0;
    for (const HostSample &sample : samples) reference = reference || !sample.ref_logp.empty();
    if (reference) {
      ref_.load(ctx, samples, &HostSample::ref_logp, sequence_, 1);
      told.ref_T = ref_.device;
    }
  }
  if (objective_.goal == Goal::distil) {
    teacher_id_.load(ctx, samples, &HostSample::teacher_ids, sequence_, K);
    teacher_logp_.load(ctx, samples, &HostSample::teacher_logp, sequence_, K);
    told.teacher.id_TK = Mat<const std::int32_t>(teacher_id_.device.data(), T, K);
    told.teacher.logp_TK = Mat<const float>(teacher_logp_.device.data(), T, K);
  }
  if (objective_.goal == Goal::reward) {
    Index answers = 0, first = 0;
    for (const HostSample &sample : samples) {
      const auto rows = answer_rows(sample);
      for (const Index row : rows) answer_.host(answers++) = first + row;
      told.answers.push_back(static_cast<Index>(rows.size()));
      first += sequence_;
    }
    Kokkos::deep_copy(ctx.exec, answer_.device, answer_.host);
    told.row_P = Vec<const Index>(answer_.device.data(), answers);
  }
  return told;
}

BatchBuffers::BatchBuffers(Index samples, Index sequence, Index mtp_depth,
                           const Objective &objective)
    : samples_(samples), sequence_(sequence), objective_(objective) {
  const Index T = samples * sequence;
  if (objective.goal == Goal::policy)
    for (auto [to, name] : {std::pair(&old_, "model::batch::old"),
                            {&ref_, "model::batch::ref"},
                            {&advantage_, "model::batch::advantage"},
                            {&weight_, "model::batch::weight"}})
      *to = {name, T};
  if (objective.goal == Goal::distil) {
    teacher_id_ = {"model::batch::teacher_id", T * objective.teacher};
    teacher_logp_ = {"model::batch::teacher_logp", T * objective.teacher};
  }
  if (objective.goal == Goal::reward) answer_ = {"model::batch::answer", T};
  using Kokkos::view_alloc, Kokkos::WithoutInitializing;
  for (Index k = 0; k <= mtp_depth; ++k) {
    StreamBuffers b;
    b.rows = sequence - k;
    HADAL_CHECK(b.rows > 0, "a sequence of {} tokens has no rows at MTP depth {}", sequence, k);
    const Index tokens = samples * b.rows;
    b.token = Vec<std::int32_t>(view_alloc(WithoutInitializing, "model::batch::token"), tokens);
    b.target = Vec<std::int32_t>(view_alloc(WithoutInitializing, "model::batch::target"), tokens);
    b.position =
        Vec<std::int32_t>(view_alloc(WithoutInitializing, "model::batch::position"), tokens);
    b.start = Vec<Index>(view_alloc(WithoutInitializing, "model::batch::start"), tokens + 1);
    b.token_host =
        decltype(b.token_host)(view_alloc(WithoutInitializing, "model::batch::token_host"), tokens);
    b.target_host = decltype(b.target_host)(
        view_alloc(WithoutInitializing, "model::batch::target_host"), tokens);
    b.position_host = decltype(b.position_host)(
        view_alloc(WithoutInitializing, "model::batch::position_host"), tokens);
    b.start_host = decltype(b.start_host)(
        view_alloc(WithoutInitializing, "model::batch::start_host"), tokens + 1);
    streams_.push_back(b);
  }
}

MicroBatch BatchBuffers::load(tensor::Context &ctx, std::span<const HostSample> samples) {
  HADAL_CHECK(static_cast<Index>(samples.size()) == samples_, "{} samples for buffers of {}",
              samples.size(), samples_);
  std::vector<std::vector<std::int32_t>> segment(samples.size()), start(samples.size());
  for (std::size_t s = 0; s < samples.size(); ++s) {
    HADAL_CHECK(static_cast<Index>(samples[s].tokens.size()) == sequence_ + 1,
                "a sample of {} tokens for a sequence of {}", samples[s].tokens.size(), sequence_);
    HADAL_CHECK(samples[s].trained.empty() || samples[s].trained.size() == samples[s].tokens.size(),
                "{} marks for {} tokens", samples[s].trained.size(), samples[s].tokens.size());
    walk(samples[s], segment[s], start[s]);
  }
  MicroBatch batch;
  for (std::size_t k = 0; k < streams_.size(); ++k) {
    StreamBuffers &b = streams_[k];
    Index t = 0, segments = 0;
    for (std::size_t s = 0; s < samples.size(); ++s) {
      for (std::size_t i = 0; i < static_cast<std::size_t>(b.rows); ++i, ++t) {
        b.token_host(t) = samples[s].tokens[i + k];
        const bool counts = segment[s][i + k + 1] == segment[s][i] && samples[s].counts(i + k + 1);
        b.target_host(t) = counts ? samples[s].tokens[i + k + 1] : -1;
        b.position_host(t) = static_cast<std::int32_t>(i) - start[s][i];
        if (b.position_host(t) == 0) b.start_host(segments++) = t;
      }
    }
    b.start_host(segments) = t;
    Kokkos::deep_copy(ctx.exec, b.token, b.token_host);
    Kokkos::deep_copy(ctx.exec, b.target, b.target_host);
    Kokkos::deep_copy(ctx.exec, b.position, b.position_host);
    Kokkos::deep_copy(ctx.exec, b.start, b.start_host);
    Stream stream;
    stream.samples = samples_, stream.rows = b.rows;
    stream.token_T = b.token, stream.target_T = b.target;
    stream.segments.position_T = b.position;
    stream.segments.start = Vec<const Index>(b.start.data(), segments + 1);
    stream.segments.start_host =
        Kokkos::View<const Index *, Kokkos::HostSpace>(b.start_host.data(), segments + 1);
    if (k == 0) stream.told = load_told(ctx, samples);
    (k == 0 ? batch.main : batch.mtp.emplace_back()) = stream;
  }
  return batch;
}

} // namespace model

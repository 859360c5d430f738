// SPDX-License-Identifier: Apache-2.0
#include "model/batch.hpp"

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

BatchBuffers::BatchBuffers(Index samples, Index sequence, Index mtp_depth)
    : samples_(samples), sequence_(sequence) {
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
    (k == 0 ? batch.main : batch.mtp.emplace_back()) = stream;
  }
  return batch;
}

} // namespace model

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A micro-batch on the device: the main stream of samples x sequence rows and one narrower stream per MTP depth.
// Sample s holds tokens t[0..sequence]. Main row i has input t[i] and target t[i+1]; depth k works on rows i < sequence - k with
// input t[i+k] and target t[i+k+1]. A target in another visible segment than its row, or one that does not count, is masked (-1).
#include <span>
#include <vector>

#include "layers/types.hpp"

namespace model {

using layers::Index;
using layers::Segments;
using layers::Vec;

struct Stream {
  Index samples = 0, rows = 0; // T = samples * rows
  Vec<const std::int32_t> token_T, target_T;
  Segments segments;
};
struct MicroBatch {
  Stream main;
  std::vector<Stream> mtp; // depth 1, 2, ...
  long number = -1;        // in the step, told by messages and spans
};

// What a sample brings: sequence + 1 tokens, the starts of its mutually visible segments (first 0), and of each token whether its loss
// counts where it is a target (none given: all do).
struct HostSample {
  std::span<const std::int32_t> tokens;
  std::span<const std::int32_t> segments;
  std::span<const std::uint8_t> trained = {};
  bool counts(std::size_t token) const { return trained.empty() || trained[token] != 0; }
};

// Number of valid targets of main (index 0) and of each depth in a sample: the divisors of the losses are sums of these.
std::vector<Index> valid_targets(const HostSample &sample, Index mtp_depth);

// Device buffers of one micro-batch, allocated once.
class BatchBuffers {
public:
  BatchBuffers(Index samples, Index sequence, Index mtp_depth);
  // Copies the samples (as many as the buffers were made for) to the device.
  MicroBatch load(tensor::Context &ctx, std::span<const HostSample> samples);

private:
  struct StreamBuffers {
    Index rows = 0;
    Vec<std::int32_t> token, target, position;
    Vec<Index> start;
    Kokkos::View<std::int32_t *, Kokkos::HostSpace> token_host, target_host, position_host;
    Kokkos::View<Index *, Kokkos::HostSpace> start_host;
  };
  Index samples_, sequence_;
  std::vector<StreamBuffers> streams_;
};

} // namespace model

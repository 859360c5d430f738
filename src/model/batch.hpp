// SPDX-License-Identifier: Apache-2.0
#pragma once
// A micro-batch on the device: the main stream of samples x sequence rows and one narrower stream per MTP depth.
// Sample s holds tokens t[0..sequence]. Main row i has input t[i] and target t[i+1]; depth k works on rows i < sequence - k with
// input t[i+k] and target t[i+k+1]. A target in another visible segment than its row, or one that does not count, is masked (-1).
#include <span>
#include <vector>

#include "model/objective.hpp"

namespace model {

using layers::Index;
using layers::Mat;
using layers::Segments;
using layers::Vec;

// What an objective wants to know of the rows of the main stream, each about the row's target (model/objective.hpp).
struct Told {
  Vec<const float> old_T, ref_T, advantage_T, weight_T;
  layers::distil::Teacher teacher;
  Vec<const Index> row_P;     // last rows of the answers that get a reward
  std::vector<Index> answers; // of them, of each sample
};
struct Stream {
  Index samples = 0, rows = 0; // T = samples * rows
  Vec<const std::int32_t> token_T, target_T;
  Segments segments;
  Told told;
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
  // Of each token as a target, where the objective wants them: log-probabilities of the policy that sampled it and of the reference,
  // advantage, weight; of the teacher Objective::teacher ids and log-probabilities each.
  std::span<const float> old_logp = {}, ref_logp = {}, advantage = {}, weight = {};
  std::span<const std::int32_t> teacher_ids = {};
  std::span<const float> teacher_logp = {};
  bool counts(std::size_t token) const { return trained.empty() || trained[token] != 0; }
};

// Number of valid targets of main (index 0) and of each depth in a sample: the divisors of the losses are sums of these.
std::vector<Index> valid_targets(const HostSample &sample, Index mtp_depth);

// The rows of a sample at which its answers' rewards are read: the last of each segment that has a token that counts. A segment's last
// token is such a row unless it is the sample's last token, which is a target only.
std::vector<Index> answer_rows(const HostSample &sample);

// Device buffers of one micro-batch, allocated once.
class BatchBuffers {
public:
  BatchBuffers(Index samples, Index sequence, Index mtp_depth, const Objective &objective = {});
  // Copies the samples (as many as the buffers were made for) to the device.
  MicroBatch load(tensor::Context &ctx, std::span<const HostSample> samples);

private:
  // An array with its copy on the host.
  template <class T> struct Both {
    Vec<T> device;
    Kokkos::View<T *, Kokkos::HostSpace> host;
    Both() = default;
    Both(const char *name, Index size);
    // The values of each sample's targets, `width` each; 0 where there is no target.
    void load(tensor::Context &ctx, std::span<const HostSample> samples,
              std::span<const T> HostSample::*values, Index rows, Index width);
  };
  Told load_told(tensor::Context &ctx, std::span<const HostSample> samples);
  struct StreamBuffers {
    Index rows = 0;
    Vec<std::int32_t> token, target, position;
    Vec<Index> start;
    Kokkos::View<std::int32_t *, Kokkos::HostSpace> token_host, target_host, position_host;
    Kokkos::View<Index *, Kokkos::HostSpace> start_host;
  };
  Index samples_, sequence_;
  Objective objective_;
  std::vector<StreamBuffers> streams_;
  Both<float> old_, ref_, advantage_, weight_, teacher_logp_;
  Both<std::int32_t> teacher_id_;
  Both<Index> answer_;
};

} // namespace model

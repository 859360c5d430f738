// SPDX-License-Identifier: Apache-2.0
#pragma once
// One optimiser step on all ranks: batch, losses, gradients, norm, update, balance. All ranks call it together.
#include <functional>
#include <memory>
#include <vector>

#include "optim/norm.hpp"
#include "tensor/arena.hpp"
#include "train/exchange.hpp"
#include "train/global_norm.hpp"
#include "train/gradients.hpp"
#include "train/pipeline.hpp"
#include "train/state.hpp"

namespace train {

enum class Verdict { good, not_finite, spike };

struct StepReport {
  double loss = 0;         // mean over the valid targets
  std::vector<double> mtp; // the same for each depth
  double balance = 0;      // sequence-wise balance loss, mean over samples, summed over layers
  double grad_norm = 0, rate = 0;
  bool clipped = false;
  Verdict verdict = Verdict::good;
  std::string where; // first value that is not finite: layer and tensor
  std::int64_t first_sample = 0, samples = 0;
  std::int64_t targets = 0;          // that the loss is a mean over (reward: pairs)
  std::vector<std::int64_t> load_BE; // MoE blocks x experts, on the host
  std::vector<double> extra; // sums over the step that the objective adds (model::extra_names)
  double apart = 0;          // policy: greatest |log-probability now - when sampled|
};

struct Validation {
  double loss = 0, bits_per_byte = 0; // reward: of a pair
  std::vector<double> extra;
  std::int64_t tokens = 0, bytes = 0;
};

// What a step needs beside the state: compute copies, gradients, arena, model. A = compute dtype.
template <class A> class Trainer {
public:
  Trainer(const Options &options, const Ranks &ranks, State &state,
          const data::SampleSource &source);

  // Draws the next batch (advances the cursor), runs it and, when all is well, moves the weights. A bad step leaves weights and
  // moments as they were; counters.step, tokens and cursor advance in any case.
  StepReport step();
  // Mean loss of held-out samples [0, count); count 0: all.
  Validation validate(const data::Samples &samples, std::int64_t count);
  // After State::initialise and State::read: owners hand out what layers read. On all ranks together, before the first step.
  void weights_changed();

  // Who tells of this rank's samples of a step what a teacher would say, before they are trained on.
  using Tell = std::function<void(std::vector<data::Sample> &)>;
  void set_teacher(Tell teacher) { teacher_ = std::move(teacher); }
  // This rank's weights as they are read now, and a copy that stays.
  const model::Weights<A> &weights() const { return weights_; }
  struct Copy {
    tensor::Vec<float> master;
    tensor::Vec<A> compute;
    model::Weights<A> weights;
  };
  Copy copy_of_weights();
  // Of one micro-batch of samples, under some weights: log-probability of each token as a target, by its place in the sample (0 where it is
  // none). On all ranks together; each pipeline has samples of its own, and all its ranks get them.
  std::vector<std::vector<float>> log_probabilities(const model::Weights<A> &weights,
                                                    const std::vector<data::Sample> &samples);

  tensor::Context &context() { return ctx_; }
  std::size_t planned_bytes() const; // of this rank, without a checkpoint's copy
  // Counts work by label from now on (null: no more).
  tensor::WorkCounter &count_work() {
    ctx_.counter = &counter_;
    return counter_;
  }
  // Messages under way, how much of their time was hidden, and where their spans go.
  model::Flights &flights() { return pipeline_.flights(); }
  const tensor::Arena &arena() const { return arena_; }
  std::int64_t moe_blocks() const { return pipeline_.moe_blocks(); }

private:
  std::vector<data::Sample> draw(std::int64_t count);
  void run_micro_batches(const std::vector<data::Sample> &samples, StepReport &report);
  void sum_losses(const Ledger &ledger, std::size_t n, const std::vector<tensor::Index> &valid,
                  StepReport &report) const;
  void judge(StepReport &report);
  double gradient_squares();
  void update(const StepReport &report);
  void move_biases();
  void read_loads(StepReport &report);
  std::string locate();

  const Options &options_;
  const Ranks &ranks_;
  State &state_;
  const data::SampleSource &source_;
  Tell teacher_;
  tensor::Arena arena_;
  tensor::WorkCounter counter_;
  tensor::Context ctx_;
  tensor::Vec<A> compute_;
  model::Weights<A> weights_;
  std::vector<Gradients> gradients_; // by chunk
  Exchange exchange_;
  Pipeline<A> pipeline_;
  model::BatchBuffers buffers_; // of validation
  std::unique_ptr<model::BatchBuffers> single_;
  optim::SquareSum square_sum_;
  GlobalNorm global_norm_;
  tensor::Mat<std::int64_t> load_BE_;
};

} // namespace train

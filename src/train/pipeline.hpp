// SPDX-License-Identifier: Apache-2.0
#pragma once
// This rank's part of a step: interprets its list of the schedule's program. Micro-batches in flight have a slot each, taken when the
// first of their data comes and given back when their last action is done.
#include <memory>
#include <optional>

#include "model/stage.hpp"
#include "train/gradients.hpp"
#include "train/ranks.hpp"

namespace train {

// What a step's losses are made of, by global micro-batch: main, each MTP depth, what the objective adds, and then each (MoE block, sample)
// of the balance loss.
// Every value is computed on one rank; together() hands all to all.
class Ledger {
public:
  Ledger(std::int64_t micro_batches, std::size_t depths, std::size_t balance,
         std::size_t extras = 0)
      : depths_(depths), extras_(extras), width_(2 + depths + extras + balance),
        values_(static_cast<std::size_t>(micro_batches) * width_, 0.0) {}
  void note(std::int64_t micro_batch, const model::MicroLoss &loss);
  void together(comm::Communicator &world);
  double main(std::int64_t m) const { return row(m)[0]; }
  double mtp(std::int64_t m, std::size_t depth) const { return row(m)[1 + depth]; }
  std::size_t extras() const { return extras_; }
  double extra(std::int64_t m, std::size_t i) const { return row(m)[1 + depths_ + i]; }
  double apart(std::int64_t m) const { return row(m)[1 + depths_ + extras_]; }
  double balance(std::int64_t m) const; // added in order

private:
  const double *row(std::int64_t m) const {
    return values_.data() + static_cast<std::size_t>(m) * width_;
  }
  std::size_t depths_, extras_, width_;
  std::vector<double> values_;
};

template <class A> class Pipeline {
public:
  Pipeline(const Options &options, const Ranks &ranks, std::vector<Gradients> &gradients);

  // Scratch that the context's arena must have; bytes of all slots, and of the second scratch where the program has overlapped pairs.
  static std::size_t scratch_bytes(const Options &options, const Ranks &ranks);
  static std::size_t slot_bytes(const Options &options, const Ranks &ranks);

  // samples: this rank's share of the step, in the order of its micro-batches. Gradients and loads add up, losses go to the ledger.
  void run(tensor::Context &ctx, const model::Weights<A> &weights,
           const std::vector<model::HostSample> &samples, const model::LossScales &scales,
           tensor::Mat<std::int64_t> load_BE, Ledger &ledger);
  // Sum of the main losses of some samples, then what the objective adds; nothing is counted or kept. On all ranks of a pipeline; every
  // rank gets them.
  std::vector<double> evaluate(tensor::Context &ctx, const model::Weights<A> &weights,
                               const model::MicroBatch &batch);
  // The same for the log-probability of each row's target (0 where there is none).
  std::vector<float> log_probabilities(tensor::Context &ctx, const model::Weights<A> &weights,
                                       const model::MicroBatch &batch);

  std::int64_t moe_blocks() const { return stages_[0].moe_blocks(); }
  const std::string &first_bad_activation() const { return first_bad_; }
  // Messages under way, and what share of their time was hidden; polled between the kernels of run().
  model::Flights &flights() { return flights_; }
  void set_trace(base::Trace *trace) { flights_.set_trace(trace); } // null: none

private:
  struct Slot {
    explicit Slot(const Options &options, std::size_t bytes);
    tensor::Arena arena;
    std::optional<tensor::Arena::Scope>
        scope; // from the forward pass until the slot is taken again
    model::BatchBuffers buffers;
    model::MicroBatch batch;
    model::Tape<A> tape;
    tensor::Mat<A> x_TD, dy_TD, dx_TD;
    comm::Request receive_x, receive_dy, send_x, send_dx;
    int chunk = -1, micro_batch = -1;
  };
  struct Step; // of the step under way

  Slot &slot_of(const schedule::Piece &piece);
  Slot &begin_forward(tensor::Context &ctx, const schedule::Piece &piece, Step &step);
  void end_backward(tensor::Context &ctx, const schedule::Piece &piece, Step &step);
  void await_sends(Slot &slot);
  void act(tensor::Context &ctx, const schedule::Action &action, Step &step);
  void forward(tensor::Context &ctx, const schedule::Piece &piece, Step &step);
  void backward(tensor::Context &ctx, const schedule::Piece &piece, Step &step, bool with_weights);
  void backward_weight(tensor::Context &ctx, const schedule::Piece &piece, Step &step);
  void overlap(tensor::Context &ctx, const schedule::Action &action, Step &step);
  bool ends_shard(const schedule::Piece &piece, const Step &step) const;
  void begin_weights(tensor::Context &ctx, const schedule::Piece &piece, const Step &step);
  void end_weights(tensor::Context &ctx, const schedule::Piece &piece, const Step &step);
  void message(tensor::Context &ctx, const schedule::Action &action, const Step &step);
  bool local(const schedule::Piece &piece, int stage) const;
  template <class At>
  void stage_by_stage(tensor::Context &ctx, const model::MicroBatch &batch, const At &at);
  int last_rank() const { return ranks_.rank_of(ranks_.stages() - 1, 0); }

  const Options &options_;
  const Ranks &ranks_;
  std::vector<Gradients> &gradients_;   // by chunk
  std::vector<model::Stage<A>> stages_; // by chunk
  std::vector<std::unique_ptr<Slot>> slots_;
  std::optional<tensor::Arena> pair_scratch_; // of the backward half of a pair
  model::Flights flights_;
  std::optional<schedule::Program> program_; // of the last step
  std::int64_t program_for_ = 0;
  std::string first_bad_;
};

} // namespace train

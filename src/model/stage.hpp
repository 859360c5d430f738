// SPDX-License-Identifier: Apache-2.0
#pragma once
// A stage: the whole model, or the run of blocks that one rank of a pipeline holds. The first has the embedding; the last has the final
// norm, the head with its loss and the MTP modules (with a copy of the embedding where it is not the first too).
//
//   (1) x_0 = embedding   (2) x_i = block_i(x_{i-1})   (3) n = final_norm(x_L)   (4) main loss = head(n)
//   MTP depth k = 1..: previous = n (or x_L: mtp.hidden), rows narrowed by one;  (5) z = mtp input(embedding(t[i+k]), previous)
//   (6) y = block(z)   (7) n_k = head_norm(y)   (8) loss_k = head(n_k)
// Total = scales.main * sum loss + sum_k scales.mtp[k] * sum loss_k + scales.balance * sum over MoE blocks of the balance loss.
#include <functional>
#include <string>
#include <vector>

#include "model/block.hpp"
#include "model/pair.hpp"
#include "model/tape.hpp"

namespace model {

struct LossScales {
  double main = 1;         // 1 / valid targets of the global batch
  std::vector<double> mtp; // lambda / (depth * valid targets of that depth)
  double balance = 1;      // samples of the micro-batch / samples of the global batch
  double alpha = 0;        // coefficient of the sequence-wise balance loss
};

// Sums over the rows of a micro-batch, in row order, double. A stage fills what it computes and leaves 0 elsewhere.
struct MicroLoss {
  double main = 0;
  std::vector<double> mtp;
  std::vector<double> balance_BS; // MoE blocks x samples, alpha included
  std::vector<double> extra;      // of the objective: extra_names()
  double apart = 0; // policy: greatest |log-probability now - when sampled| of a token (not a sum)
  double balance() const { // their sum, in order
    double sum = 0;
    for (const double value : balance_BS) sum += value;
    return sum;
  }
};

template <class A> class ForwardWalk;
template <class A> class BackwardWalk;

template <class A> class Stage {
public:
  Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence);
  Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence,
        Part part);
  const Part &part() const { return part_; }
  // Experts are shared by the ranks of a group (ep null: all are here). Then the arena of saved activations must be another than the
  // context's.
  void set_expert_group(const layers::dispatch::Group &group) { group_ = group; }
  // What the main head is trained for; batches must be loaded for the same. Before memory is asked for.
  void set_objective(const Objective &objective) { objective_ = objective; }
  // Who polls messages between kernels (null: nobody).
  void set_flights(Flights *flights) { flights_ = flights; }
  // Called when all gradients of a layer's weights stand for the micro-batch under way (an MTP module: its block; layers count on).
  void set_layer_done(std::function<void(Index layer)> done) { layer_done_ = std::move(done); }
  // Bytes of arena that forward_backward needs at most (saved activations and scratch).
  std::size_t arena_bytes() const;
  // The two apart: what a micro-batch in flight keeps (deferred: between backward_input and backward_weight too), and scratch.
  std::size_t tape_bytes(bool deferred) const;
  std::size_t scratch_bytes() const;
  // Scratch of a backward pass that takes turns with a forward pass of another micro-batch; that one has its own.
  std::size_t pair_scratch_bytes() const;

  // F: saved activations go to `keep`. x_TD: the stage's input, of which the caller keeps the memory (none on the first stage).
  // The head's gradient is added here, since its logits are not kept.
  void forward(Context &ctx, tensor::Arena &keep, const Weights<A> &w, const MicroBatch &batch,
               const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE, Mat<A> x_TD,
               Tape<A> &tape);
  // B: dy_TD is the gradient of the output (none on the last stage), dx_TD receives that of the input (none on the first). What W needs
  // goes to `keep`.
  void backward_input(Context &ctx, tensor::Arena &keep, const Weights<A> &w,
                      const MicroBatch &batch, const LossScales &scales, Mat<A> dy_TD,
                      Tape<A> &tape, Mat<A> dx_TD);
  // W: adds the gradients of all weights but the head's.
  void backward_weight(Context &ctx, const MicroBatch &batch, const Grads &acc, Tape<A> &tape);
  // B and W, block by block: the same bits with less memory.
  void backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                const LossScales &scales, const Grads &acc, Mat<A> dy_TD, Tape<A> &tape,
                Mat<A> dx_TD);
  // F and BW in phases, so that those of two micro-batches can take turns (pair.hpp). All that is handed over outlives the walk; the
  // contexts of two walks have arenas of their own.
  std::unique_ptr<Walk> forward_walk(Context &ctx, tensor::Arena &keep, const Weights<A> &w,
                                     const MicroBatch &batch, const LossScales &scales,
                                     const Grads &acc, Mat<std::int64_t> load_BE, Mat<A> x_TD,
                                     Tape<A> &tape) const;
  std::unique_ptr<Walk> backward_walk(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                                      const LossScales &scales, const Grads &acc, Mat<A> dy_TD,
                                      Tape<A> &tape, Mat<A> dx_TD) const;
  // Losses of a tape; waits for the device.
  MicroLoss losses(Context &ctx, const Tape<A> &tape);

  // Adds the gradients of one micro-batch to acc and the expert loads to load_BE (rows: MoE blocks, MTP modules last).
  MicroLoss forward_backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                             const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE);
  // Losses only, for pairs of answers where the objective is reward, else cross-entropy: nothing is counted into loads, nothing is kept.
  MicroLoss forward(Context &ctx, const Weights<A> &w, const MicroBatch &batch);
  // The same of a stage: its output goes to y_TD, or on the last stage its losses are given. visitors: arena for other ranks' arrivals.
  MicroLoss evaluate(Context &ctx, tensor::Arena &visitors, const Weights<A> &w,
                     const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD);
  // As evaluate, on the last stage: log-probability of each row's target, with the bits of the training pass (0 where there is none), and
  // its row's entropy where asked; rewards of the answers (batch loaded for the objective reward; answers need not be pairs).
  struct Rated {
    std::vector<float> logp_T, entropy_T;
  };
  Rated log_probabilities(Context &ctx, tensor::Arena &visitors, const Weights<A> &w,
                          const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD, bool entropy = false);
  std::vector<float> rewards(Context &ctx, tensor::Arena &visitors, const Weights<A> &w,
                             const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD);
  // As log_probabilities, what a teacher tells of each row: its K most likely tokens at a temperature, [rows, K] (layers/distil).
  struct Taught {
    std::vector<std::int32_t> id_TK;
    std::vector<float> logp_TK;
  };
  Taught teach(Context &ctx, tensor::Arena &visitors, const Weights<A> &w, const MicroBatch &batch,
               float temperature, Index K);
  // Normalised hidden states of the main model [T, D] (input of the head), in the caller's scope.
  Mat<A> hidden(Context &ctx, const Weights<A> &w, const Stream &stream);

  // After a forward_backward with a loss that is not finite: "layers.3.mla: q" or "" when every saved activation is finite.
  const std::string &first_bad_activation() const { return first_bad_; }
  Index moe_blocks() const;

private:
  friend class ForwardWalk<A>;
  friend class BackwardWalk<A>;
  BlockEnv env(Index layer, long micro_batch = -1) const {
    return {dims_, recompute_, rope_, layer, group_, flights_, micro_batch};
  }
  Index layer_of(std::size_t block) const; // blocks of this stage in order: main model, MTP modules
  std::size_t main_blocks() const { return static_cast<std::size_t>(part_.last - part_.first); }
  std::size_t blocks() const;
  Balance balance(const LossScales &scales, Index layer, Mat<std::int64_t> load_BE,
                  Mat<double> balance_BS) const;
  // W of an MTP module's own weights; what B left for it is on the tape.
  void mtp_weights(Context &, const MicroBatch &, std::size_t k, const Grads &,
                   const Tape<A> &) const;
  void layer_done(Index layer) const {
    if (layer_done_) layer_done_(layer);
  }
  std::size_t rest_bytes() const;  // of one block, from B to W
  std::size_t verbs_bytes() const; // scratch of the phases of a block
  std::size_t walk_bytes() const;  // of a backward walk beside its blocks
  MicroLoss read_losses(Context &, const Tape<A> &) const;
  // Input of the head in the caller's scope; on another stage than the last it is empty, and y_TD has the output.
  Mat<A> pass(Context &, tensor::Arena &visitors, const Weights<A> &, const Stream &, Mat<A> x_TD,
              Mat<A> y_TD) const;
  std::string find_bad(Context &, const Tape<A> &) const;

  arch::Dims dims_;
  arch::Recompute recompute_;
  Index samples_, sequence_;
  Part part_;
  Objective objective_;
  layers::dispatch::Group group_;
  Flights *flights_ = nullptr;
  std::function<void(Index)> layer_done_;
  layers::rope::Table rope_;
  std::string first_bad_;
};

} // namespace model

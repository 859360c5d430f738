// SPDX-License-Identifier: Apache-2.0
#pragma once
// The whole model on this rank: embedding, blocks, final norm, head with loss, MTP modules; forward and backward of one micro-batch.
//
//   (1) x_0 = embedding   (2) x_i = block_i(x_{i-1})   (3) n = final_norm(x_L)   (4) main loss = head(n)
//   MTP depth k = 1..: previous = n (or x_L: mtp.hidden), rows narrowed by one;  (5) z = mtp input(embedding(t[i+k]), previous)
//   (6) y = block(z)   (7) n_k = head_norm(y)   (8) loss_k = head(n_k)
// Total = scales.main * sum loss + sum_k scales.mtp[k] * sum loss_k + scales.balance * sum over MoE blocks of the balance loss.
#include <string>
#include <vector>

#include "model/block.hpp"

namespace model {

struct LossScales {
  double main = 1;         // 1 / valid targets of the global batch
  std::vector<double> mtp; // lambda / (depth * valid targets of that depth)
  double balance = 1;      // samples of the micro-batch / samples of the global batch
  double alpha = 0;        // coefficient of the sequence-wise balance loss
};

// Sums over the rows of a micro-batch, in row order, double.
struct MicroLoss {
  double main = 0;
  std::vector<double> mtp;
  double balance = 0; // sum over samples and MoE blocks, alpha included
};

template <class A> class Stage {
public:
  Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence);
  // Bytes of arena that forward_backward needs at most (saved activations and scratch).
  std::size_t arena_bytes() const;

  // Adds the gradients of one micro-batch to acc and the expert loads to load_BE (rows: MoE blocks, MTP modules last).
  MicroLoss forward_backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                             const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE);
  // Losses only: nothing is counted into loads, nothing is kept.
  MicroLoss forward(Context &ctx, const Weights<A> &w, const MicroBatch &batch);
  // Normalised hidden states of the main model [T, D] (input of the head), in the caller's scope.
  Mat<A> hidden(Context &ctx, const Weights<A> &w, const Stream &stream);

  // After a forward_backward with a loss that is not finite: "layers.3.mla: q" or "" when every saved activation is finite.
  const std::string &first_bad_activation() const { return first_bad_; }
  Index moe_blocks() const;

private:
  struct Tape; // saved activations of a micro-batch
  BlockEnv env(Index layer) const { return BlockEnv{dims_, recompute_, rope_, layer}; }
  Balance balance(const LossScales &scales, Index layer, Mat<std::int64_t> load_BE,
                  Mat<double> balance_BS) const;
  void forward_main(Context &, const Weights<A> &, const MicroBatch &, const LossScales &,
                    const Grads &, Mat<std::int64_t>, Tape &);
  void forward_mtp(Context &, const Weights<A> &, const MicroBatch &, Index depth,
                   const LossScales &, const Grads &, Mat<std::int64_t>, Tape &);
  void backward_mtp(Context &, const Weights<A> &, const MicroBatch &, Index depth,
                    const LossScales &, const Grads &, Tape &);
  void backward_main(Context &, const Weights<A> &, const MicroBatch &, const LossScales &,
                     const Grads &, Tape &);
  void backward_block(Context &, const Weights<A> &, Index layer, const Stream &, Mat<const A> dy,
                      Mat<const A> x, const BlockSaved<A> &, const Balance &, const Grads &,
                      Mat<A> dx);
  MicroLoss read_losses(Context &, const Tape &) const;
  std::string find_bad(Context &, const Tape &) const;

  arch::Dims dims_;
  arch::Recompute recompute_;
  Index samples_, sequence_;
  layers::rope::Table rope_;
  std::string first_bad_;
};

} // namespace model

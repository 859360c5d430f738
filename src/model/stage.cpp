// SPDX-License-Identifier: Apache-2.0
#include "model/stage.hpp"

#include <cmath>

#include "model/finite.hpp"
#include "model/objective_head.hpp"
#include "model/tape.hpp"
#include "numerics/elementwise.hpp"

namespace model {

using namespace layers;
using numerics::flat;
using tensor::Arena;

template <class A>
Stage<A>::Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence)
    : Stage(dims, recompute, samples, sequence, Part::whole(dims)) {}

template <class A>
Stage<A>::Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence,
                Part part)
    : dims_(dims), recompute_(recompute), samples_(samples), sequence_(sequence), part_(part),
      rope_(rope::make_table(dims, sequence)) {}

template <class A> Index Stage<A>::moe_blocks() const {
  return dims_.layers - std::min(dims_.layers, dims_.dense_layers) + dims_.mtp_depth;
}

// Layers of the blocks of a tape.
template <class A> Index Stage<A>::layer_of(std::size_t block) const {
  const Index i = part_.first + static_cast<Index>(block);
  return i < part_.last ? i : dims_.layers + i - part_.last;
}
template <class A> std::size_t Stage<A>::blocks() const {
  return main_blocks() + static_cast<std::size_t>(part_.head ? dims_.mtp_depth : 0);
}

template <class A>
Balance Stage<A>::balance(const LossScales &scales, Index layer, Mat<std::int64_t> load_BE,
                          Mat<double> balance_BS) const {
  Balance b;
  if (dims_.is_dense(layer)) return b;
  const bool unused = layer >= dims_.layers && // an MTP module whose loss counts nowhere
                      scales.mtp[static_cast<std::size_t>(layer - dims_.layers)] == 0;
  b.alpha = unused ? 0.0 : scales.alpha, b.scale = scales.balance;
  const Index row = layer - dims_.dense_layers;
  if (load_BE.extent(0) > 0)
    b.load_E = Vec<std::int64_t>(load_BE.data() + row * dims_.experts, dims_.experts);
  b.balance_S = Vec<double>(balance_BS.data() + row * samples_, samples_);
  return b;
}

template <class A> MicroLoss Stage<A>::losses(Context &ctx, const Tape<A> &tape) {
  const MicroLoss loss = read_losses(ctx, tape);
  double all = loss.main + loss.balance();
  for (double l : loss.mtp) all += l;
  for (double e : loss.extra) all += e;
  first_bad_ = std::isfinite(all) ? "" : find_bad(ctx, tape);
  return loss;
}

template <class A>
MicroLoss Stage<A>::forward_backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                                     const LossScales &scales, const Grads &acc,
                                     Mat<std::int64_t> load_BE) {
  Arena::Scope scope(ctx.arena);
  Tape<A> tape;
  forward(ctx, ctx.arena, w, batch, scales, acc, load_BE, {}, tape);
  backward(ctx, w, batch, scales, acc, {}, tape, {});
  return losses(ctx, tape);
}

template <class A> MicroLoss Stage<A>::read_losses(Context &ctx, const Tape<A> &tape) const {
  const auto read = [&](auto v) {
    auto host = Kokkos::create_mirror_view(v);
    Kokkos::deep_copy(ctx.exec, host, v);
    tensor::fence(ctx, "model::stage::read_losses"); // reason: the host adds them in row order
    return std::vector<double>(host.data(), host.data() + host.extent(0));
  };
  const auto sum = [&](auto v) {
    double total = 0;
    for (const double value : read(v)) total += value;
    return total;
  };
  MicroLoss loss;
  objective::read(ctx, objective_, tape, loss);
  for (const auto &m : tape.mtp) loss.mtp.push_back(sum(m.loss_U));
  if (tape.balance_BS.extent(0) > 0) loss.balance_BS = read(flat(tape.balance_BS));
  return loss;
}

template class Stage<float>;
template class Stage<bf16>;

} // namespace model

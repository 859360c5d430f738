// SPDX-License-Identifier: Apache-2.0
#include "model/stage.hpp"

#include <cmath>
#include <optional>

#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "model/finite.hpp"
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
  return static_cast<std::size_t>(part_.last - part_.first + (part_.head ? dims_.mtp_depth : 0));
}

template <class A>
Balance Stage<A>::balance(const LossScales &scales, Index layer, Mat<std::int64_t> load_BE,
                          Mat<double> balance_BS) const {
  Balance b;
  if (dims_.is_dense(layer)) return b;
  b.alpha = scales.alpha, b.scale = scales.balance;
  const Index row = layer - dims_.dense_layers;
  if (load_BE.extent(0) > 0)
    b.load_E = Vec<std::int64_t>(load_BE.data() + row * dims_.experts, dims_.experts);
  b.balance_S = Vec<double>(balance_BS.data() + row * samples_, samples_);
  return b;
}

template <class A>
void Stage<A>::forward_main(Context &ctx, Arena &keep, const Weights<A> &w, const MicroBatch &batch,
                            const LossScales &scales, Mat<std::int64_t> load_BE, Mat<A> x_TD,
                            Tape<A> &tape) {
  const Index T = batch.main.samples * batch.main.rows, D = dims_.model;
  if (part_.embedding) {
    x_TD = keep.template mat<A>(T, D);
    embedding::forward(ctx, batch.main.token_T, w.embedding_WD, x_TD); // (1)
  }
  tape.x_TD.push_back(x_TD);
  for (Index i = part_.first; i < part_.last; ++i) {
    const Mat<A> x = tape.x_TD.back(), y = keep.template mat<A>(T, D);
    tape.blocks.push_back(block::allocate<A>(keep, env(i), batch.main));
    block::forward(ctx, env(i), w.blocks[static_cast<std::size_t>(i)], batch.main, Mat<const A>(x),
                   balance(scales, i, load_BE, tape.balance_BS), tape.blocks.back(), y); // (2)
    tape.x_TD.push_back(y);
  }
}

template <class A>
void Stage<A>::forward_head(Context &ctx, Arena &keep, const Weights<A> &w, const MicroBatch &batch,
                            const LossScales &scales, const Grads &acc, Tape<A> &tape) {
  const Index T = batch.main.samples * batch.main.rows, D = dims_.model;
  tape.final_norm = rms_norm::allocate(keep, T);
  tape.n_TD = keep.template mat<A>(T, D), tape.dn_TD = keep.template mat<A>(T, D);
  tape.lse_T = keep.template vec<float>(T), tape.loss_T = keep.template vec<float>(T);
  rms_norm::forward(ctx, Mat<const A>(tape.x_TD.back()), w.final_norm_D,
                    static_cast<float>(dims_.norm_eps), tape.n_TD, tape.final_norm); // (3)
  head_loss::forward_backward(ctx, Mat<const A>(tape.n_TD), w.head_WD, batch.main.target_T,
                              static_cast<float>(scales.main), tape.lse_T, tape.loss_T, tape.dn_TD,
                              acc.head_WD[0]); // (4)
}

template <class A>
void Stage<A>::forward_mtp(Context &ctx, Arena &keep, const Weights<A> &w, const MicroBatch &batch,
                           Index depth, const LossScales &scales, const Grads &acc,
                           Mat<std::int64_t> load_BE, Tape<A> &tape) {
  const auto k = static_cast<std::size_t>(depth); // 1, 2, ...
  const auto layer = static_cast<std::size_t>(dims_.layers) + k - 1;
  const Stream &stream = batch.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = dims_.model;
  const bool post = dims_.mtp_hidden == arch::MtpHidden::post_norm;
  typename Tape<A>::Mtp m;
  m.emb_UD = keep.template mat<A>(U, D), m.previous_UD = keep.template mat<A>(U, D),
  m.z_UD = keep.template mat<A>(U, D);
  m.y_UD = keep.template mat<A>(U, D), m.n_UD = keep.template mat<A>(U, D),
  m.dn_UD = keep.template mat<A>(U, D);
  if (!post) m.dprevious_UD = keep.template mat<A>(U, D);
  m.input = mtp::allocate<A>(keep, dims_, U);
  m.head_norm = rms_norm::allocate(keep, U);
  m.lse_U = keep.template vec<float>(U), m.loss_U = keep.template vec<float>(U);
  const Mat<A> previous = k == 1 ? (post ? tape.n_TD : tape.x_TD.back())
                                 : (post ? tape.mtp[k - 2].n_UD : tape.mtp[k - 2].y_UD);
  embedding::forward(ctx, stream.token_T, w.embedding_WD, m.emb_UD);
  mtp::narrow(ctx, stream.samples, stream.rows + 1, Mat<const A>(previous), m.previous_UD);
  mtp::forward(ctx, w.blocks[layer].mtp, static_cast<float>(dims_.norm_eps), Mat<const A>(m.emb_UD),
               Mat<const A>(m.previous_UD), m.input, m.z_UD); // (5)
  tape.blocks.push_back(block::allocate<A>(keep, env(static_cast<Index>(layer)), stream));
  block::forward(ctx, env(static_cast<Index>(layer)), w.blocks[layer], stream, Mat<const A>(m.z_UD),
                 balance(scales, static_cast<Index>(layer), load_BE, tape.balance_BS),
                 tape.blocks.back(), m.y_UD); // (6)
  rms_norm::forward(ctx, Mat<const A>(m.y_UD), w.blocks[layer].head_norm_D,
                    static_cast<float>(dims_.norm_eps), m.n_UD, m.head_norm); // (7)
  head_loss::forward_backward(ctx, Mat<const A>(m.n_UD), w.head_WD, stream.target_T,
                              static_cast<float>(scales.mtp[k - 1]), m.lse_U, m.loss_U, m.dn_UD,
                              acc.head_WD[k]); // (8)
  tape.mtp.push_back(m);
}

template <class A>
void Stage<A>::forward(Context &ctx, Arena &keep, const Weights<A> &w, const MicroBatch &batch,
                       const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE,
                       Mat<A> x_TD, Tape<A> &tape) {
  tape.balance_BS = keep.template mat<double>(moe_blocks(), samples_);
  numerics::fill(ctx, "model::stage::clear_balance", flat(tape.balance_BS), 0.0);
  forward_main(ctx, keep, w, batch, scales, load_BE, x_TD, tape);
  if (!part_.head) return;
  forward_head(ctx, keep, w, batch, scales, acc, tape);
  for (Index k = 1; k <= dims_.mtp_depth; ++k)
    forward_mtp(ctx, keep, w, batch, k, scales, acc, load_BE, tape);
}

// keep: where what W needs is left; null: W follows at once, and its arrays are scratch.
template <class A>
void Stage<A>::backward_block(Context &ctx, Arena *keep, const Weights<A> &w, std::size_t block,
                              const Stream &stream, Mat<A> dy, Mat<const A> x,
                              const LossScales &scales, const Grads *acc, Tape<A> &tape,
                              Mat<A> dx) {
  Arena::Scope scope(ctx.arena);
  const Index layer = layer_of(block);
  const auto l = static_cast<std::size_t>(layer);
  // Visitors' arrays outlive the scopes of the verbs, so that they need an arena of their own.
  const auto &visitors = tape.blocks[block].visitors;
  Arena &place = keep ? *keep : visitors ? *visitors->keep : ctx.arena;
  std::optional<Arena::Scope> until_done;
  if (!keep) until_done.emplace(place);
  Context kept{ctx.exec, place, ctx.mesh, ctx.counter};
  typename Tape<A>::BlockRest rest;
  rest.full = block::refill(kept, env(layer), w.blocks[l], stream, x, tape.blocks[block]);
  rest.deltas = block::allocate_deltas<A>(kept.arena, env(layer), stream);
  rest.dy_TD = dy;
  block::backward_input(ctx, env(layer), w.blocks[l], stream, Mat<const A>(dy), x,
                        balance(scales, layer, {}, tape.balance_BS), rest.full, rest.deltas, dx);
  if (keep)
    tape.block_rest[block] = rest;
  else
    block::backward_weight(ctx, env(layer), Mat<const A>(dy), x, rest.full, rest.deltas,
                           acc->blocks[l]);
  if (!keep && layer_done_ && layer < dims_.layers) layer_done_(layer);
}

template <class A>
void Stage<A>::mtp_weights(Context &ctx, const MicroBatch &batch, std::size_t k, const Grads &acc,
                           const typename Tape<A>::MtpRest &rest, const Tape<A> &tape) {
  const auto &m = tape.mtp[k - 1];
  const auto layer = static_cast<std::size_t>(dims_.layers) + k - 1;
  rms_norm::backward_weight(ctx, Mat<const A>(m.dn_UD), Mat<const A>(m.y_UD), m.head_norm,
                            acc.blocks[layer].head_norm_D); // (7)
  mtp::backward_weight(ctx, Mat<const A>(rest.dz_UD), Mat<const A>(m.emb_UD),
                       Mat<const A>(m.previous_UD), m.input, rest.deltas,
                       acc.blocks[layer].mtp); // (5)
  embedding::backward_weight(ctx, batch.mtp[k - 1].token_T, Mat<const A>(rest.demb_UD),
                             acc.embedding_WD[k]);
}

template <class A>
void Stage<A>::backward_mtp(Context &ctx, Arena *keep, const Weights<A> &w, const MicroBatch &batch,
                            std::size_t k, const LossScales &scales, const Grads *acc,
                            Tape<A> &tape) {
  Arena::Scope scope(ctx.arena);
  Arena &arena = keep ? *keep : ctx.arena;
  const auto layer = static_cast<std::size_t>(dims_.layers) + k - 1,
             block = static_cast<std::size_t>(part_.last - part_.first) + k - 1;
  const Stream &stream = batch.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = dims_.model;
  auto &m = tape.mtp[k - 1];
  const bool post = dims_.mtp_hidden == arch::MtpHidden::post_norm;
  typename Tape<A>::MtpRest rest;
  const Mat<A> dy = arena.template mat<A>(U, D);
  rest.dz_UD = arena.template mat<A>(U, D);
  rms_norm::backward_input(ctx, Mat<const A>(m.dn_UD), Mat<const A>(m.y_UD),
                           w.blocks[layer].head_norm_D, m.head_norm, dy); // (7)
  if (!post && k < tape.mtp.size())
    mtp::widen_acc(ctx, stream.samples, stream.rows, Mat<const A>(tape.mtp[k].dprevious_UD), dy);
  backward_block(ctx, keep, w, block, stream, dy, Mat<const A>(m.z_UD), scales, acc, tape,
                 rest.dz_UD); // (6)
  rest.deltas = mtp::allocate_deltas<A>(arena, dims_, U);
  rest.demb_UD = arena.template mat<A>(U, D);
  const Mat<A> dprevious = post ? ctx.arena.template mat<A>(U, D) : m.dprevious_UD;
  mtp::backward_input(ctx, w.blocks[layer].mtp, Mat<const A>(rest.dz_UD), Mat<const A>(m.emb_UD),
                      Mat<const A>(m.previous_UD), m.input, rest.deltas, rest.demb_UD,
                      dprevious); // (5)
  // To the stream that fed this module. Under post_norm that is the input of a head, whose gradient waits in dn.
  if (post)
    mtp::widen_acc(ctx, stream.samples, stream.rows + 1, Mat<const A>(dprevious),
                   k == 1 ? tape.dn_TD : tape.mtp[k - 2].dn_UD);
  if (keep) {
    tape.mtp_rest[k - 1] = rest;
  } else {
    mtp_weights(ctx, batch, k, *acc, rest, tape);
    if (layer_done_) layer_done_(static_cast<Index>(layer));
  }
}

template <class A>
void Stage<A>::backward_all(Context &ctx, Arena *keep, const Weights<A> &w, const MicroBatch &batch,
                            const LossScales &scales, const Grads *acc, Mat<A> dy, Tape<A> &tape,
                            Mat<A> dx) {
  Arena::Scope scope(ctx.arena);
  const Index T = batch.main.samples * batch.main.rows, D = dims_.model;
  tape.block_rest.resize(blocks()), tape.mtp_rest.resize(tape.mtp.size());
  Arena &arena = keep ? *keep : ctx.arena;
  // Without a place to keep them, two arrays take turns.
  Mat<A> turns[2];
  for (Mat<A> &array : turns)
    if (!keep) array = arena.template mat<A>(T, D);
  int turn = 0;
  const auto fresh = [&] { return keep ? arena.template mat<A>(T, D) : turns[turn++ % 2]; };
  if (part_.head) {
    for (std::size_t k = tape.mtp.size(); k >= 1; --k)
      backward_mtp(ctx, keep, w, batch, k, scales, acc, tape);
    dy = fresh();
    rms_norm::backward_input(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                             w.final_norm_D, tape.final_norm, dy); // (3)
    if (!keep)
      rms_norm::backward_weight(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                                tape.final_norm, acc->final_norm_D);
    if (dims_.mtp_hidden == arch::MtpHidden::pre_norm && !tape.mtp.empty())
      mtp::widen_acc(ctx, batch.main.samples, batch.main.rows,
                     Mat<const A>(tape.mtp[0].dprevious_UD), dy);
  }
  for (auto block = static_cast<std::size_t>(part_.last - part_.first); block-- > 0;) {
    const Mat<A> next = block == 0 && !part_.embedding ? dx : fresh();
    backward_block(ctx, keep, w, block, batch.main, dy, Mat<const A>(tape.x_TD[block]), scales, acc,
                   tape, next); // (2)
    dy = next;
  }
  if (!part_.embedding && dy.data() != dx.data())
    Kokkos::deep_copy(ctx.exec, dx, dy); // a stage without blocks
  tape.dx0_TD = dy;
  if (!keep && part_.embedding)
    embedding::backward_weight(ctx, batch.main.token_T, Mat<const A>(dy),
                               acc->embedding_WD[0]); // (1)
}

template <class A>
void Stage<A>::backward_input(Context &ctx, Arena &keep, const Weights<A> &w,
                              const MicroBatch &batch, const LossScales &scales, Mat<A> dy_TD,
                              Tape<A> &tape, Mat<A> dx_TD) {
  backward_all(ctx, &keep, w, batch, scales, nullptr, dy_TD, tape, dx_TD);
}

template <class A>
void Stage<A>::backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                        const LossScales &scales, const Grads &acc, Mat<A> dy_TD, Tape<A> &tape,
                        Mat<A> dx_TD) {
  backward_all(ctx, nullptr, w, batch, scales, &acc, dy_TD, tape, dx_TD);
}

template <class A>
void Stage<A>::backward_weight(Context &ctx, const MicroBatch &batch, const Grads &acc,
                               Tape<A> &tape) {
  const auto main = static_cast<std::size_t>(part_.last - part_.first);
  for (std::size_t k = tape.mtp.size(); k >= 1; --k)
    mtp_weights(ctx, batch, k, acc, tape.mtp_rest[k - 1], tape);
  if (part_.head)
    rms_norm::backward_weight(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                              tape.final_norm, acc.final_norm_D);
  for (std::size_t block = blocks(); block-- > 0;) {
    const auto &rest = tape.block_rest[block];
    const Index layer = layer_of(block);
    const Mat<A> x = block < main ? tape.x_TD[block] : tape.mtp[block - main].z_UD;
    block::backward_weight(ctx, env(layer), Mat<const A>(rest.dy_TD), Mat<const A>(x), rest.full,
                           rest.deltas, acc.blocks[static_cast<std::size_t>(layer)]);
    if (layer_done_) layer_done_(layer);
  }
  if (part_.embedding)
    embedding::backward_weight(ctx, batch.main.token_T, Mat<const A>(tape.dx0_TD),
                               acc.embedding_WD[0]);
}

template <class A> MicroLoss Stage<A>::losses(Context &ctx, const Tape<A> &tape) {
  const MicroLoss loss = read_losses(ctx, tape);
  double all = loss.main + loss.balance();
  for (double l : loss.mtp) all += l;
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
  if (tape.loss_T.extent(0) > 0) loss.main = sum(tape.loss_T);
  for (const auto &m : tape.mtp) loss.mtp.push_back(sum(m.loss_U));
  if (tape.balance_BS.extent(0) > 0) loss.balance_BS = read(flat(tape.balance_BS));
  return loss;
}

template class Stage<float>;
template class Stage<bf16>;

} // namespace model

// SPDX-License-Identifier: Apache-2.0
#include "model/stage.hpp"

#include <cmath>

#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "model/finite.hpp"
#include "numerics/elementwise.hpp"

namespace model {

using namespace layers;
using numerics::flat;
using tensor::Arena;

// Everything that the backward pass of a micro-batch reads.
template <class A> struct Stage<A>::Tape {
  std::vector<Mat<A>> x_TD;          // x_0 .. x_L
  std::vector<BlockSaved<A>> blocks; // L + depth
  rms_norm::Saved final_norm;
  Mat<A> n_TD, dn_TD; // input of the head and its gradient
  Vec<float> lse_T, loss_T;
  Mat<double> balance_BS;
  struct Mtp {
    Mat<A> emb_UD, previous_UD, z_UD, y_UD, n_UD, dn_UD;
    mtp::Saved<A> input;
    rms_norm::Saved head_norm;
    Vec<float> lse_U, loss_U;
  };
  std::vector<Mtp> mtp;
};

template <class A>
Stage<A>::Stage(const arch::Dims &dims, arch::Recompute recompute, Index samples, Index sequence)
    : dims_(dims), recompute_(recompute), samples_(samples), sequence_(sequence),
      rope_(rope::make_table(dims, sequence)) {}

template <class A> Index Stage<A>::moe_blocks() const {
  return dims_.layers - std::min(dims_.layers, dims_.dense_layers) + dims_.mtp_depth;
}

template <class A> std::size_t Stage<A>::arena_bytes() const {
  Arena arena = Arena::counting("model::stage");
  const Index T = samples_ * sequence_, D = dims_.model;
  std::size_t most_deltas = 0;
  for (Index i = 0; i < dims_.layers + dims_.mtp_depth; ++i) {
    Stream stream;
    stream.samples = samples_, stream.rows = sequence_;
    block::allocate<A>(arena, env(i), stream);
    arena.template mat<A>(T, D);
    if (i >= dims_.layers) {
      for (int array = 0; array < 8; ++array) arena.template mat<A>(T, D);
      mtp::allocate<A>(arena, dims_, T);
    }
    Arena::Scope scope(arena);
    const std::size_t before = arena.used();
    block::allocate_deltas<A>(arena, env(i), stream);
    most_deltas = std::max(most_deltas, arena.used() - before);
  }
  // Scratch of the verbs: refilled fields, outputs of the arrivals, chunks of logits, tiles of the attention threads.
  const auto arrivals =
      static_cast<std::size_t>(T * std::max<Index>(1, dims_.moe() ? dims_.chosen : 1));
  const auto widest = static_cast<std::size_t>(
      std::max({3 * dims_.dense_hidden, 4 * dims_.shared * dims_.expert_hidden, 4 * D,
                2 * dims_.heads * (dims_.head_dim() + dims_.nope + dims_.value)}));
  const std::size_t scratch =
      sizeof(float) * (arrivals * static_cast<std::size_t>(4 * D + 4 * dims_.expert_hidden) +
                       static_cast<std::size_t>(T) * widest +
                       static_cast<std::size_t>(3 * head_loss::kChunkRows * dims_.vocabulary) +
                       static_cast<std::size_t>(12 * T * D + 4 * T * dims_.experts));
  return arena.used() + most_deltas + scratch + (std::size_t{64} << 20);
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
void Stage<A>::forward_main(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                            const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE,
                            Tape &tape) {
  Arena &arena = ctx.arena;
  const Index T = batch.main.samples * batch.main.rows, D = dims_.model;
  tape.x_TD.push_back(arena.template mat<A>(T, D));
  embedding::forward(ctx, batch.main.token_T, w.embedding_WD, tape.x_TD[0]); // (1)
  for (Index i = 0; i < dims_.layers; ++i) {
    const auto l = static_cast<std::size_t>(i);
    tape.x_TD.push_back(arena.template mat<A>(T, D));
    tape.blocks.push_back(block::allocate<A>(arena, env(i), batch.main));
    block::forward(ctx, env(i), w.blocks[l], batch.main, Mat<const A>(tape.x_TD[l]),
                   balance(scales, i, load_BE, tape.balance_BS), tape.blocks[l],
                   tape.x_TD[l + 1]); // (2)
  }
  tape.final_norm = rms_norm::allocate(arena, T);
  tape.n_TD = arena.template mat<A>(T, D), tape.dn_TD = arena.template mat<A>(T, D);
  tape.lse_T = arena.template vec<float>(T), tape.loss_T = arena.template vec<float>(T);
  rms_norm::forward(ctx, Mat<const A>(tape.x_TD.back()), w.final_norm_D,
                    static_cast<float>(dims_.norm_eps), tape.n_TD, tape.final_norm); // (3)
  head_loss::forward_backward(ctx, Mat<const A>(tape.n_TD), w.head_WD, batch.main.target_T,
                              static_cast<float>(scales.main), tape.lse_T, tape.loss_T, tape.dn_TD,
                              acc.head_WD[0]); // (4)
}

template <class A>
void Stage<A>::forward_mtp(Context &ctx, const Weights<A> &w, const MicroBatch &batch, Index depth,
                           const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE,
                           Tape &tape) {
  Arena &arena = ctx.arena;
  const auto k = static_cast<std::size_t>(depth); // 1, 2, ...
  const auto layer = static_cast<std::size_t>(dims_.layers) + k - 1;
  const Stream &stream = batch.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = dims_.model;
  typename Tape::Mtp m;
  m.emb_UD = arena.template mat<A>(U, D), m.previous_UD = arena.template mat<A>(U, D),
  m.z_UD = arena.template mat<A>(U, D);
  m.y_UD = arena.template mat<A>(U, D), m.n_UD = arena.template mat<A>(U, D),
  m.dn_UD = arena.template mat<A>(U, D);
  m.input = mtp::allocate<A>(arena, dims_, U);
  m.head_norm = rms_norm::allocate(arena, U);
  m.lse_U = arena.template vec<float>(U), m.loss_U = arena.template vec<float>(U);
  const bool post = dims_.mtp_hidden == arch::MtpHidden::post_norm;
  const Mat<A> previous = k == 1 ? (post ? tape.n_TD : tape.x_TD.back())
                                 : (post ? tape.mtp[k - 2].n_UD : tape.mtp[k - 2].y_UD);
  embedding::forward(ctx, stream.token_T, w.embedding_WD, m.emb_UD);
  mtp::narrow(ctx, stream.samples, stream.rows + 1, Mat<const A>(previous), m.previous_UD);
  mtp::forward(ctx, w.blocks[layer].mtp, static_cast<float>(dims_.norm_eps), Mat<const A>(m.emb_UD),
               Mat<const A>(m.previous_UD), m.input, m.z_UD); // (5)
  tape.blocks.push_back(block::allocate<A>(arena, env(static_cast<Index>(layer)), stream));
  block::forward(ctx, env(static_cast<Index>(layer)), w.blocks[layer], stream, Mat<const A>(m.z_UD),
                 balance(scales, static_cast<Index>(layer), load_BE, tape.balance_BS),
                 tape.blocks[layer], m.y_UD); // (6)
  rms_norm::forward(ctx, Mat<const A>(m.y_UD), w.blocks[layer].head_norm_D,
                    static_cast<float>(dims_.norm_eps), m.n_UD, m.head_norm); // (7)
  head_loss::forward_backward(ctx, Mat<const A>(m.n_UD), w.head_WD, stream.target_T,
                              static_cast<float>(scales.mtp[k - 1]), m.lse_U, m.loss_U, m.dn_UD,
                              acc.head_WD[k]); // (8)
  tape.mtp.push_back(m);
}

template <class A>
void Stage<A>::backward_block(Context &ctx, const Weights<A> &w, Index layer, const Stream &stream,
                              Mat<const A> dy, Mat<const A> x, const BlockSaved<A> &saved,
                              const Balance &b, const Grads &acc, Mat<A> dx) {
  Arena::Scope scope(ctx.arena);
  const auto l = static_cast<std::size_t>(layer);
  const BlockSaved<A> full = block::refill(ctx, env(layer), w.blocks[l], stream, x, saved);
  const BlockDeltas<A> deltas = block::allocate_deltas<A>(ctx.arena, env(layer), stream);
  block::backward_input(ctx, env(layer), w.blocks[l], stream, dy, x, b, full, deltas, dx);
  block::backward_weight(ctx, env(layer), dy, x, full, deltas, acc.blocks[l]);
}

template <class A>
void Stage<A>::backward_mtp(Context &ctx, const Weights<A> &w, const MicroBatch &batch, Index depth,
                            const LossScales &scales, const Grads &acc, Tape &tape) {
  Arena::Scope scope(ctx.arena);
  const auto k = static_cast<std::size_t>(depth);
  const auto layer = static_cast<std::size_t>(dims_.layers) + k - 1;
  const Stream &stream = batch.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = dims_.model;
  auto &m = tape.mtp[k - 1];
  const bool post = dims_.mtp_hidden == arch::MtpHidden::post_norm;
  Mat<A> dy = ctx.arena.template mat<A>(U, D), dz = ctx.arena.template mat<A>(U, D);
  rms_norm::backward_input(ctx, Mat<const A>(m.dn_UD), Mat<const A>(m.y_UD),
                           w.blocks[layer].head_norm_D, m.head_norm, dy); // (7)
  rms_norm::backward_weight(ctx, Mat<const A>(m.dn_UD), Mat<const A>(m.y_UD), m.head_norm,
                            acc.blocks[layer].head_norm_D);
  if (!post && k < tape.mtp.size())
    mtp::widen_acc(ctx, stream.samples, stream.rows, Mat<const A>(tape.mtp[k].previous_UD),
                   dy); // holds d previous by now
  backward_block(ctx, w, static_cast<Index>(layer), stream, Mat<const A>(dy), Mat<const A>(m.z_UD),
                 tape.blocks[layer],
                 balance(scales, static_cast<Index>(layer), {}, tape.balance_BS), acc, dz); // (6)
  const auto deltas = mtp::allocate_deltas<A>(ctx.arena, dims_, U);
  Mat<A> demb = ctx.arena.template mat<A>(U, D), dprevious = ctx.arena.template mat<A>(U, D);
  mtp::backward_input(ctx, w.blocks[layer].mtp, Mat<const A>(dz), Mat<const A>(m.emb_UD),
                      Mat<const A>(m.previous_UD), m.input, deltas, demb, dprevious); // (5)
  mtp::backward_weight(ctx, Mat<const A>(dz), Mat<const A>(m.emb_UD), Mat<const A>(m.previous_UD),
                       m.input, deltas, acc.blocks[layer].mtp);
  embedding::backward_weight(ctx, stream.token_T, Mat<const A>(demb), acc.embedding_WD[k]);
  // To the stream that fed this module. Under post_norm that is the input of a head, whose gradient waits in dn.
  if (post) {
    mtp::widen_acc(ctx, stream.samples, stream.rows + 1, Mat<const A>(dprevious),
                   k == 1 ? tape.dn_TD : tape.mtp[k - 2].dn_UD);
  } else {
    Kokkos::deep_copy(ctx.exec, m.previous_UD, dprevious); // its forward value is not needed again
  }
}

template <class A>
void Stage<A>::backward_main(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                             const LossScales &scales, const Grads &acc, Tape &tape) {
  Arena::Scope scope(ctx.arena);
  const Index T = batch.main.samples * batch.main.rows, D = dims_.model;
  Mat<A> dy = ctx.arena.template mat<A>(T, D), dx = ctx.arena.template mat<A>(T, D);
  rms_norm::backward_input(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                           w.final_norm_D, tape.final_norm, dy); // (3)
  rms_norm::backward_weight(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                            tape.final_norm, acc.final_norm_D);
  if (dims_.mtp_hidden == arch::MtpHidden::pre_norm && !tape.mtp.empty())
    mtp::widen_acc(ctx, batch.main.samples, batch.main.rows, Mat<const A>(tape.mtp[0].previous_UD),
                   dy);
  for (Index i = dims_.layers; i-- > 0;) {
    const auto l = static_cast<std::size_t>(i);
    backward_block(ctx, w, i, batch.main, Mat<const A>(dy), Mat<const A>(tape.x_TD[l]),
                   tape.blocks[l], balance(scales, i, {}, tape.balance_BS), acc, dx); // (2)
    std::swap(dy, dx);
  }
  embedding::backward_weight(ctx, batch.main.token_T, Mat<const A>(dy), acc.embedding_WD[0]); // (1)
}

template <class A>
MicroLoss Stage<A>::forward_backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                                     const LossScales &scales, const Grads &acc,
                                     Mat<std::int64_t> load_BE) {
  Arena::Scope scope(ctx.arena);
  Tape tape;
  tape.balance_BS = ctx.arena.template mat<double>(moe_blocks(), samples_);
  numerics::fill(ctx, "model::stage::clear_balance", flat(tape.balance_BS), 0.0);
  forward_main(ctx, w, batch, scales, acc, load_BE, tape);
  for (Index k = 1; k <= dims_.mtp_depth; ++k)
    forward_mtp(ctx, w, batch, k, scales, acc, load_BE, tape);
  for (Index k = dims_.mtp_depth; k >= 1; --k) backward_mtp(ctx, w, batch, k, scales, acc, tape);
  backward_main(ctx, w, batch, scales, acc, tape);
  const MicroLoss loss = read_losses(ctx, tape);
  double all = loss.main + loss.balance;
  for (double l : loss.mtp) all += l;
  first_bad_ = std::isfinite(all) ? "" : find_bad(ctx, tape);
  return loss;
}

template <class A>
Mat<A> Stage<A>::hidden(Context &ctx, const Weights<A> &w, const Stream &stream) {
  Arena &arena = ctx.arena;
  const Index T = stream.samples * stream.rows, D = dims_.model;
  Mat<A> n = arena.template mat<A>(T, D);
  Mat<A> x = arena.template mat<A>(T, D), y = arena.template mat<A>(T, D);
  Mat<double> balance_BS =
      arena.template mat<double>(std::max<Index>(1, moe_blocks()), stream.samples);
  embedding::forward(ctx, stream.token_T, w.embedding_WD, x);
  for (Index i = 0; i < dims_.layers; ++i) {
    Arena::Scope scope(arena);
    const auto l = static_cast<std::size_t>(i);
    Balance b;
    if (!dims_.is_dense(i))
      b.balance_S = Vec<double>(balance_BS.data() + (i - dims_.dense_layers) * stream.samples,
                                stream.samples);
    block::forward(ctx, env(i), w.blocks[l], stream, Mat<const A>(x), b,
                   block::allocate<A>(arena, env(i), stream), y);
    std::swap(x, y);
  }
  Arena::Scope scope(arena);
  rms_norm::forward(ctx, Mat<const A>(x), w.final_norm_D, static_cast<float>(dims_.norm_eps), n,
                    rms_norm::allocate(arena, T));
  return n;
}

template <class A>
MicroLoss Stage<A>::forward(Context &ctx, const Weights<A> &w, const MicroBatch &batch) {
  Arena::Scope scope(ctx.arena);
  const Index T = batch.main.samples * batch.main.rows;
  Tape tape;
  Mat<A> n = hidden(ctx, w, batch.main);
  tape.lse_T = ctx.arena.template vec<float>(T), tape.loss_T = ctx.arena.template vec<float>(T);
  head_loss::forward(ctx, Mat<const A>(n), w.head_WD, batch.main.target_T, tape.lse_T, tape.loss_T);
  return read_losses(ctx, tape);
}

template <class A> MicroLoss Stage<A>::read_losses(Context &ctx, const Tape &tape) const {
  const auto sum = [&](auto v) {
    auto host = Kokkos::create_mirror_view(v);
    Kokkos::deep_copy(ctx.exec, host, v);
    tensor::fence(ctx, "model::stage::read_losses"); // reason: the host adds them in row order
    double total = 0;
    for (std::size_t i = 0; i < host.extent(0); ++i) total += host(i);
    return total;
  };
  MicroLoss loss;
  loss.main = sum(tape.loss_T);
  for (const auto &m : tape.mtp) loss.mtp.push_back(sum(m.loss_U));
  if (tape.balance_BS.extent(0) > 0) loss.balance = sum(flat(tape.balance_BS));
  return loss;
}

namespace {

template <class A>
void look_at_block(FiniteScan &scan, const std::string &layer, const BlockSaved<A> &b,
                   const Mat<A> &output) {
  scan.look(layer + ".attention_norm", "h1", b.h1_TD);
  scan.look(layer + ".mla", "cq", b.mla.cq_TQ), scan.look(layer + ".mla", "q", b.mla.q_THM);
  scan.look(layer + ".mla", "c", b.mla.c_TC), scan.look(layer + ".mla", "k_rope", b.mla.k_rope_TR);
  scan.look(layer + ".mla", "kv", b.mla.kv_THX), scan.look(layer + ".mla", "o", b.mla.o_THV);
  scan.look(layer, "r", b.r_TD), scan.look(layer + ".ffn_norm", "h2", b.h2_TD);
  scan.look(layer + ".ffn", "gate", b.ffn.g_TF), scan.look(layer + ".ffn", "up", b.ffn.u_TF);
  scan.look(layer + ".router", "scores", b.router.scores_TE),
      scan.look(layer + ".router", "weights", b.router.weight_TK);
  scan.look(layer + ".experts", "gate", b.experts.g_AF),
      scan.look(layer + ".experts", "up", b.experts.u_AF);
  scan.look(layer + ".shared", "gate", b.shared.g_TF),
      scan.look(layer + ".shared", "up", b.shared.u_TF);
  scan.look(layer, "output", output);
}

} // namespace

// In the order of the forward pass.
template <class A> std::string Stage<A>::find_bad(Context &ctx, const Tape &tape) const {
  FiniteScan scan(ctx);
  const auto L = static_cast<std::size_t>(dims_.layers);
  scan.look("embedding", "x", tape.x_TD[0]);
  for (std::size_t i = 0; i < L && !scan.found(); ++i)
    look_at_block(scan, "layers." + std::to_string(i), tape.blocks[i], tape.x_TD[i + 1]);
  scan.look("final_norm", "n", tape.n_TD);
  scan.look("head", "log-sum-exp of the logits", tape.lse_T);
  for (std::size_t k = 0; k < tape.mtp.size() && !scan.found(); ++k) {
    const auto &m = tape.mtp[k];
    const std::string layer = "layers." + std::to_string(L + k);
    scan.look(layer + ".mtp", "normed embedding and hidden", m.input.z_TZ),
        scan.look(layer + ".mtp", "input", m.z_UD);
    look_at_block(scan, layer, tape.blocks[L + k], m.y_UD);
    scan.look(layer + ".mtp", "head norm", m.n_UD),
        scan.look(layer + ".mtp", "log-sum-exp of the logits", m.lse_U);
  }
  return scan.where();
}

template class Stage<float>;
template class Stage<bf16>;

} // namespace model

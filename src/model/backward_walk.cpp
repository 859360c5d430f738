// SPDX-License-Identifier: Apache-2.0
// B, W and BW of a stage, block by block and phase by phase; the numbers are those of stage.hpp, read from the bottom.
#include <optional>

#include "layers/embedding/embedding.hpp"
#include "model/block_backward.hpp"
#include "model/objective_head.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

// What W needs of a block is left in `keep` until W comes; without it W follows at once, and its memory is scratch: one part, or two
// where the next block opens before the weight gradients of the one before are done.
template <class A> class BackwardWalk final : public Walk {
public:
  struct Where {
    Arena *keep = nullptr;
    int parts = 1;
  };
  BackwardWalk(const Stage<A> &stage, Context &ctx, Where where, const Weights<A> &w,
               const MicroBatch &batch, const LossScales &scales, const Grads *acc, Mat<A> dy_TD,
               Tape<A> &tape, Mat<A> dx_TD);

  int blocks() const override { return static_cast<int>(stage_.blocks()); }
  void start() override { before(0); }
  void run(int block, Phase phase) override;
  void finish() override;

private:
  std::size_t block_of(int turn) const {
    return stage_.blocks() - 1 - static_cast<std::size_t>(turn);
  }
  bool is_mtp(std::size_t block) const { return block >= stage_.main_blocks(); }
  Arena &lasting() { return keep_ ? *keep_ : ctx_.arena; }
  Mat<A> fresh(); // for a gradient of the stream between blocks
  void before(int turn);
  void mtp_head(std::size_t k);
  void final_norm();
  void open(int turn);
  void attention(int turn);
  void attention_weight(int turn);
  void mtp_input(std::size_t k);
  Computing computing(const char *name) const { return {stage_.flights_, {name, batch_.number}}; }

  const Stage<A> &stage_;
  Context &ctx_;
  Arena *keep_;
  const Weights<A> &w_;
  const MicroBatch &batch_;
  const LossScales &scales_;
  const Grads *acc_; // null: W comes later
  Mat<A> dy_TD_, end_TD_;
  Tape<A> &tape_;

  Arena::Scope scope_;
  std::vector<std::unique_ptr<Arena>> parts_;
  std::optional<Arena::Scope> part_scope_[2], phases_scope_;
  Mat<A> turns_[2];
  int next_ = 0;
  Mat<A> mtp_dy_, dx_; // of the block to come: gradients of its output (MTP), of its input
  std::optional<block::Backward<A>> now_;
};

template <class A>
BackwardWalk<A>::BackwardWalk(const Stage<A> &stage, Context &ctx, Where where, const Weights<A> &w,
                              const MicroBatch &batch, const LossScales &scales, const Grads *acc,
                              Mat<A> dy_TD, Tape<A> &tape, Mat<A> dx_TD)
    : stage_(stage), ctx_(ctx), keep_(where.keep), w_(w), batch_(batch), scales_(scales), acc_(acc),
      dy_TD_(dy_TD), end_TD_(dx_TD), tape_(tape), scope_(ctx.arena) {
  tape.block_rest.resize(stage.blocks()), tape.mtp_rest.resize(tape.mtp.size());
  if (keep_) return;
  for (int i = 0; i < where.parts; ++i)
    parts_.push_back(std::make_unique<Arena>("block", ctx.arena, stage.rest_bytes()));
  for (Mat<A> &array : turns_)
    array = ctx.arena.template mat<A>(batch.main.samples * batch.main.rows, stage.dims_.model);
}

template <class A> Mat<A> BackwardWalk<A>::fresh() {
  if (!keep_) return turns_[next_++ % 2];
  return keep_->template mat<A>(batch_.main.samples * batch_.main.rows, stage_.dims_.model);
}

template <class A> void BackwardWalk<A>::run(int turn, Phase phase) {
  switch (phase) {
  case Phase::open: return open(turn);
  case Phase::mlp: return block::mlp(ctx_, *now_);
  case Phase::mlp_weight:
    if (acc_)
      block::mlp_weight(ctx_, now_->env, now_->dy_TD, now_->full, now_->deltas,
                        acc_->blocks[static_cast<std::size_t>(now_->env.layer)]);
    return;
  case Phase::attention: return attention(turn);
  case Phase::attention_weight: return attention_weight(turn);
  default: HADAL_CHECK(false, "phase {} of a backward pass", static_cast<int>(phase));
  }
}

// Up to the block whose turn it is, or up to the stage's input.
template <class A> void BackwardWalk<A>::before(int turn) {
  const std::size_t done = static_cast<std::size_t>(turn), left = stage_.blocks() - done;
  if (left > stage_.main_blocks()) return mtp_head(left - stage_.main_blocks());
  if (left == stage_.main_blocks() && stage_.part_.head) final_norm();
  if (left > 0) dx_ = left == 1 && !stage_.part_.embedding ? end_TD_ : fresh();
}

template <class A> void BackwardWalk<A>::mtp_head(std::size_t k) {
  const auto span = computing("MTP head B");
  const auto layer = static_cast<std::size_t>(stage_.dims_.layers) + k - 1;
  const Stream &stream = batch_.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = stage_.dims_.model;
  const auto &m = tape_.mtp[k - 1];
  mtp_dy_ = lasting().template mat<A>(U, D);
  dx_ = tape_.mtp_rest[k - 1].dz_UD = lasting().template mat<A>(U, D);
  rms_norm::backward_input(ctx_, Mat<const A>(m.dn_UD), Mat<const A>(m.y_UD),
                           w_.blocks[layer].head_norm_D, m.head_norm, mtp_dy_); // (7)
  if (stage_.dims_.mtp_hidden == arch::MtpHidden::pre_norm && k < tape_.mtp.size())
    mtp::widen_acc(ctx_, stream.samples, stream.rows, Mat<const A>(tape_.mtp[k].dprevious_UD),
                   mtp_dy_);
}

template <class A> void BackwardWalk<A>::final_norm() {
  const auto span = computing("final norm B");
  dy_TD_ = fresh();
  if (acc_)
    objective::backward_weight(ctx_, stage_.objective_, batch_.main, tape_, acc_->reward_head_D);
  rms_norm::backward_input(ctx_, Mat<const A>(tape_.dn_TD), Mat<const A>(tape_.x_TD.back()),
                           w_.final_norm_D, tape_.final_norm, dy_TD_); // (3)
  if (acc_)
    rms_norm::backward_weight(ctx_, Mat<const A>(tape_.dn_TD), Mat<const A>(tape_.x_TD.back()),
                              tape_.final_norm, acc_->final_norm_D);
  if (stage_.dims_.mtp_hidden == arch::MtpHidden::pre_norm && !tape_.mtp.empty())
    mtp::widen_acc(ctx_, batch_.main.samples, batch_.main.rows,
                   Mat<const A>(tape_.mtp[0].dprevious_UD), dy_TD_);
}

template <class A> void BackwardWalk<A>::open(int turn) { // (2), (6)
  const std::size_t block = block_of(turn);
  const Index layer = stage_.layer_of(block);
  const bool mtp = is_mtp(block);
  const std::size_t k = mtp ? block - stage_.main_blocks() : 0;
  const std::size_t part = keep_ ? 0 : static_cast<std::size_t>(turn) % parts_.size();
  if (!keep_) part_scope_[part].emplace(*parts_[part]);
  Arena &rest = keep_ ? *keep_ : *parts_[part];
  const Stream &stream = mtp ? batch_.mtp[k] : batch_.main;
  const BlockEnv env = stage_.env(layer, batch_.number);
  const auto &w = w_.blocks[static_cast<std::size_t>(layer)];
  const auto &saved = tape_.blocks[block];
  const Mat<const A> x = mtp ? tape_.mtp[k].z_UD : tape_.x_TD[block];
  phases_scope_.emplace(ctx_.arena);
  now_.emplace(block::Backward<A>{env,
                                  w,
                                  stream,
                                  Mat<const A>(mtp ? mtp_dy_ : dy_TD_),
                                  x,
                                  stage_.balance(scales_, layer, {}, tape_.balance_BS),
                                  saved,
                                  block::allocate_deltas<A>(rest, env, stream),
                                  dx_,
                                  {},
                                  {},
                                  {}});
  block::open(ctx_, *now_);
  const Computing span(stage_.flights_, env.label("refill B"));
  Context kept = ctx_.within(rest);
  now_->full = block::refill(kept, env, w, stream, x, saved);
}

template <class A> void BackwardWalk<A>::attention(int turn) {
  const std::size_t block = block_of(turn);
  block::attention(ctx_, *now_);
  tape_.block_rest[block] = {now_->full, now_->deltas, now_->dy_TD};
  now_.reset(), phases_scope_.reset();
  if (is_mtp(block))
    mtp_input(block - stage_.main_blocks() + 1);
  else
    dy_TD_ = dx_;
  before(turn + 1);
}

template <class A> void BackwardWalk<A>::attention_weight(int turn) {
  if (!acc_) return;
  const std::size_t block = block_of(turn);
  const Index layer = stage_.layer_of(block);
  const auto &rest = tape_.block_rest[block];
  const Mat<const A> x =
      is_mtp(block) ? tape_.mtp[block - stage_.main_blocks()].z_UD : tape_.x_TD[block];
  block::attention_weight(ctx_, stage_.env(layer, batch_.number), x, rest.full, rest.deltas,
                          acc_->blocks[static_cast<std::size_t>(layer)]);
  part_scope_[static_cast<std::size_t>(turn) % parts_.size()].reset();
  if (is_mtp(block))
    stage_.mtp_weights(ctx_, batch_, block - stage_.main_blocks() + 1, *acc_, tape_);
  stage_.layer_done(layer);
}

template <class A> void BackwardWalk<A>::mtp_input(std::size_t k) {
  const auto span = computing("MTP input B");
  const auto layer = static_cast<std::size_t>(stage_.dims_.layers) + k - 1;
  const Stream &stream = batch_.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = stage_.dims_.model;
  const auto &m = tape_.mtp[k - 1];
  auto &rest = tape_.mtp_rest[k - 1];
  const bool post = stage_.dims_.mtp_hidden == arch::MtpHidden::post_norm;
  rest.deltas = mtp::allocate_deltas<A>(lasting(), stage_.dims_, U);
  rest.demb_UD = lasting().template mat<A>(U, D);
  const Mat<A> dprevious = post ? ctx_.arena.template mat<A>(U, D) : m.dprevious_UD;
  mtp::backward_input(ctx_, w_.blocks[layer].mtp, Mat<const A>(rest.dz_UD), Mat<const A>(m.emb_UD),
                      Mat<const A>(m.previous_UD), m.input, rest.deltas, rest.demb_UD,
                      dprevious); // (5)
  // To the stream that fed this module. Under post_norm that is the input of a head, whose gradient waits in dn.
  if (post)
    mtp::widen_acc(ctx_, stream.samples, stream.rows + 1, Mat<const A>(dprevious),
                   k == 1 ? tape_.dn_TD : tape_.mtp[k - 2].dn_UD);
}

template <class A> void BackwardWalk<A>::finish() {
  if (!stage_.part_.embedding && dy_TD_.data() != end_TD_.data())
    Kokkos::deep_copy(ctx_.exec, end_TD_, dy_TD_); // a stage without blocks
  tape_.dx0_TD = dy_TD_;
  if (acc_ && stage_.part_.embedding)
    embedding::backward_weight(ctx_, batch_.main.token_T, Mat<const A>(dy_TD_),
                               acc_->embedding_WD[0]); // (1)
}

template <class A>
std::unique_ptr<Walk> Stage<A>::backward_walk(Context &ctx, const Weights<A> &w,
                                              const MicroBatch &batch, const LossScales &scales,
                                              const Grads &acc, Mat<A> dy_TD, Tape<A> &tape,
                                              Mat<A> dx_TD) const {
  return std::make_unique<BackwardWalk<A>>(*this, ctx, typename BackwardWalk<A>::Where{nullptr, 2},
                                           w, batch, scales, &acc, dy_TD, tape, dx_TD);
}

template <class A>
void Stage<A>::backward_input(Context &ctx, Arena &keep, const Weights<A> &w,
                              const MicroBatch &batch, const LossScales &scales, Mat<A> dy_TD,
                              Tape<A> &tape, Mat<A> dx_TD) {
  BackwardWalk<A> walk(*this, ctx, {&keep, 0}, w, batch, scales, nullptr, dy_TD, tape, dx_TD);
  walk_alone(Side::backward, walk);
}

template <class A>
void Stage<A>::backward(Context &ctx, const Weights<A> &w, const MicroBatch &batch,
                        const LossScales &scales, const Grads &acc, Mat<A> dy_TD, Tape<A> &tape,
                        Mat<A> dx_TD) {
  BackwardWalk<A> walk(*this, ctx, {nullptr, 1}, w, batch, scales, &acc, dy_TD, tape, dx_TD);
  walk_alone(Side::backward, walk);
}

template <class A>
void Stage<A>::mtp_weights(Context &ctx, const MicroBatch &batch, std::size_t k, const Grads &acc,
                           const Tape<A> &tape) const {
  const auto &m = tape.mtp[k - 1];
  const auto &rest = tape.mtp_rest[k - 1];
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
void Stage<A>::backward_weight(Context &ctx, const MicroBatch &batch, const Grads &acc,
                               Tape<A> &tape) {
  for (std::size_t block = blocks(); block-- > 0;) {
    const bool mtp = block >= main_blocks();
    const std::size_t k = mtp ? block - main_blocks() + 1 : 0;
    const auto &rest = tape.block_rest[block];
    const Index layer = layer_of(block);
    const BlockEnv env = this->env(layer, batch.number);
    const auto &to = acc.blocks[static_cast<std::size_t>(layer)];
    const Mat<const A> x = mtp ? tape.mtp[k - 1].z_UD : tape.x_TD[block];
    block::mlp_weight(ctx, env, Mat<const A>(rest.dy_TD), rest.full, rest.deltas, to);
    block::attention_weight(ctx, env, x, rest.full, rest.deltas, to);
    if (mtp) mtp_weights(ctx, batch, k, acc, tape);
    layer_done(layer);
  }
  if (part_.head) {
    objective::backward_weight(ctx, objective_, batch.main, tape, acc.reward_head_D);
    rms_norm::backward_weight(ctx, Mat<const A>(tape.dn_TD), Mat<const A>(tape.x_TD.back()),
                              tape.final_norm, acc.final_norm_D);
  }
  if (part_.embedding)
    embedding::backward_weight(ctx, batch.main.token_T, Mat<const A>(tape.dx0_TD),
                               acc.embedding_WD[0]);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template std::unique_ptr<Walk> Stage<A>::backward_walk(                                          \
      Context &, const Weights<A> &, const MicroBatch &, const LossScales &, const Grads &,        \
      Mat<A>, Tape<A> &, Mat<A>) const;                                                            \
  template void Stage<A>::backward_input(Context &, Arena &, const Weights<A> &,                   \
                                         const MicroBatch &, const LossScales &, Mat<A>,           \
                                         Tape<A> &, Mat<A>);                                       \
  template void Stage<A>::backward(Context &, const Weights<A> &, const MicroBatch &,              \
                                   const LossScales &, const Grads &, Mat<A>, Tape<A> &, Mat<A>);  \
  template void Stage<A>::backward_weight(Context &, const MicroBatch &, const Grads &, Tape<A> &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model

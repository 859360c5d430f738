// SPDX-License-Identifier: Apache-2.0
// F of a stage, block by block and phase by phase; the numbers are those of stage.hpp.
#include <optional>

#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "model/block_forward.hpp"
#include "model/objective_head.hpp"
#include "numerics/elementwise.hpp"

namespace model {

using namespace layers;
using numerics::flat;
using tensor::Arena;

template <class A> class ForwardWalk final : public Walk {
public:
  ForwardWalk(const Stage<A> &stage, Context &ctx, Arena &keep, const Weights<A> &w,
              const MicroBatch &batch, const LossScales &scales, const Grads &acc,
              Mat<std::int64_t> load_BE, Mat<A> x_TD, Tape<A> &tape)
      : stage_(stage), ctx_(ctx), keep_(keep), w_(w), batch_(batch), scales_(scales), acc_(acc),
        load_BE_(load_BE), x_TD_(x_TD), tape_(tape) {}

  int blocks() const override { return static_cast<int>(stage_.blocks()); }
  void start() override;
  void run(int block, Phase phase) override;
  void finish() override {}

private:
  void begin(std::size_t block);
  void behind(std::size_t blocks); // what follows so many blocks, up to the next
  void head();
  void mtp_input(std::size_t k);
  void mtp_head(std::size_t k);
  Computing computing(const char *name) const { return {stage_.flights_, {name, batch_.number}}; }

  const Stage<A> &stage_;
  Context &ctx_;
  Arena &keep_;
  const Weights<A> &w_;
  const MicroBatch &batch_;
  const LossScales &scales_;
  const Grads &acc_;
  Mat<std::int64_t> load_BE_;
  Mat<A> x_TD_;
  Tape<A> &tape_;
  std::optional<Arena::Scope> scope_; // of the block under way
  std::optional<block::Forward<A>> now_;
};

template <class A> void ForwardWalk<A>::start() {
  tape_.balance_BS = keep_.template mat<double>(stage_.moe_blocks(), stage_.samples_);
  numerics::fill(ctx_, "model::stage::clear_balance", flat(tape_.balance_BS), 0.0);
  if (stage_.part_.embedding) {
    const auto span = computing("embedding F");
    x_TD_ = keep_.template mat<A>(batch_.main.samples * batch_.main.rows, stage_.dims_.model);
    embedding::forward(ctx_, batch_.main.token_T, w_.embedding_WD, x_TD_); // (1)
  }
  tape_.x_TD.push_back(x_TD_);
  behind(0);
}

template <class A> void ForwardWalk<A>::run(int block, Phase phase) { // (2), (6)
  switch (phase) {
  case Phase::attention:
    begin(static_cast<std::size_t>(block));
    return block::attention(ctx_, *now_);
  case Phase::mlp: return block::mlp(ctx_, *now_);
  case Phase::close:
    block::close(ctx_, *now_);
    now_.reset(), scope_.reset();
    return behind(static_cast<std::size_t>(block) + 1);
  default: HADAL_CHECK(false, "phase {} of a forward pass", static_cast<int>(phase));
  }
}

template <class A> void ForwardWalk<A>::begin(std::size_t block) {
  const std::size_t main = stage_.main_blocks();
  const Index layer = stage_.layer_of(block);
  const Stream &stream = block < main ? batch_.main : batch_.mtp[block - main];
  const BlockEnv env = stage_.env(layer, batch_.number);
  Mat<A> x, y;
  if (block < main) {
    x = tape_.x_TD.back();
    y = keep_.template mat<A>(stream.samples * stream.rows, stage_.dims_.model);
    tape_.x_TD.push_back(y);
  } else {
    x = tape_.mtp.back().z_UD, y = tape_.mtp.back().y_UD;
  }
  tape_.blocks.push_back(block::allocate<A>(keep_, env, stream));
  scope_.emplace(ctx_.arena);
  now_.emplace(block::Forward<A>{env,
                                 w_.blocks[static_cast<std::size_t>(layer)],
                                 stream,
                                 Mat<const A>(x),
                                 stage_.balance(scales_, layer, load_BE_, tape_.balance_BS),
                                 tape_.blocks.back(),
                                 y,
                                 {},
                                 {},
                                 {}});
}

template <class A> void ForwardWalk<A>::behind(std::size_t blocks) {
  const std::size_t main = stage_.main_blocks();
  if (!stage_.part_.head || blocks < main) return;
  if (blocks == main)
    head();
  else
    mtp_head(blocks - main);
  if (blocks < stage_.blocks()) mtp_input(blocks - main + 1);
}

template <class A> void ForwardWalk<A>::head() {
  const auto span = computing("head F");
  const Index T = batch_.main.samples * batch_.main.rows, D = stage_.dims_.model;
  tape_.final_norm = rms_norm::allocate(keep_, T);
  tape_.n_TD = keep_.template mat<A>(T, D), tape_.dn_TD = keep_.template mat<A>(T, D);
  rms_norm::forward(ctx_, Mat<const A>(tape_.x_TD.back()), w_.final_norm_D,
                    static_cast<float>(stage_.dims_.norm_eps), tape_.n_TD, tape_.final_norm); // (3)
  objective::forward(ctx_, keep_, stage_.objective_, w_, batch_.main, scales_.main, acc_.head_WD[0],
                     tape_); // (4)
}

template <class A> void ForwardWalk<A>::mtp_input(std::size_t k) { // k = 1, 2, ...
  const auto span = computing("MTP input F");
  const auto &dims = stage_.dims_;
  const auto layer = static_cast<std::size_t>(dims.layers) + k - 1;
  const Stream &stream = batch_.mtp[k - 1];
  const Index U = stream.samples * stream.rows, D = dims.model;
  const bool post = dims.mtp_hidden == arch::MtpHidden::post_norm;
  typename Tape<A>::Mtp m;
  m.emb_UD = keep_.template mat<A>(U, D), m.previous_UD = keep_.template mat<A>(U, D);
  m.z_UD = keep_.template mat<A>(U, D), m.y_UD = keep_.template mat<A>(U, D);
  m.n_UD = keep_.template mat<A>(U, D), m.dn_UD = keep_.template mat<A>(U, D);
  if (!post) m.dprevious_UD = keep_.template mat<A>(U, D);
  m.input = mtp::allocate<A>(keep_, dims, U);
  m.head_norm = rms_norm::allocate(keep_, U);
  m.lse_U = keep_.template vec<float>(U), m.loss_U = keep_.template vec<float>(U);
  const Mat<A> previous = k == 1 ? (post ? tape_.n_TD : tape_.x_TD.back())
                                 : (post ? tape_.mtp[k - 2].n_UD : tape_.mtp[k - 2].y_UD);
  embedding::forward(ctx_, stream.token_T, w_.embedding_WD, m.emb_UD);
  mtp::narrow(ctx_, stream.samples, stream.rows + 1, Mat<const A>(previous), m.previous_UD);
  mtp::forward(ctx_, w_.blocks[layer].mtp, static_cast<float>(dims.norm_eps),
               Mat<const A>(m.emb_UD), Mat<const A>(m.previous_UD), m.input, m.z_UD); // (5)
  tape_.mtp.push_back(m);
}

template <class A> void ForwardWalk<A>::mtp_head(std::size_t k) {
  const auto span = computing("MTP head F");
  const auto &m = tape_.mtp[k - 1];
  const auto layer = static_cast<std::size_t>(stage_.dims_.layers) + k - 1;
  rms_norm::forward(ctx_, Mat<const A>(m.y_UD), w_.blocks[layer].head_norm_D,
                    static_cast<float>(stage_.dims_.norm_eps), m.n_UD, m.head_norm); // (7)
  head_loss::forward_backward(ctx_, Mat<const A>(m.n_UD), w_.head_WD, batch_.mtp[k - 1].target_T,
                              static_cast<float>(scales_.mtp[k - 1]), m.lse_U, m.loss_U, m.dn_UD,
                              acc_.head_WD[k]); // (8)
}

template <class A>
std::unique_ptr<Walk> Stage<A>::forward_walk(Context &ctx, Arena &keep, const Weights<A> &w,
                                             const MicroBatch &batch, const LossScales &scales,
                                             const Grads &acc, Mat<std::int64_t> load_BE,
                                             Mat<A> x_TD, Tape<A> &tape) const {
  return std::make_unique<ForwardWalk<A>>(*this, ctx, keep, w, batch, scales, acc, load_BE, x_TD,
                                          tape);
}

template <class A>
void Stage<A>::forward(Context &ctx, Arena &keep, const Weights<A> &w, const MicroBatch &batch,
                       const LossScales &scales, const Grads &acc, Mat<std::int64_t> load_BE,
                       Mat<A> x_TD, Tape<A> &tape) {
  ForwardWalk<A> walk(*this, ctx, keep, w, batch, scales, acc, load_BE, x_TD, tape);
  walk_alone(Side::forward, walk);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template std::unique_ptr<Walk> Stage<A>::forward_walk(                                           \
      Context &, Arena &, const Weights<A> &, const MicroBatch &, const LossScales &,              \
      const Grads &, Mat<std::int64_t>, Mat<A>, Tape<A> &) const;                                  \
  template void Stage<A>::forward(Context &, Arena &, const Weights<A> &, const MicroBatch &,      \
                                  const LossScales &, const Grads &, Mat<std::int64_t>, Mat<A>,    \
                                  Tape<A> &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model

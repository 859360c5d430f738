// SPDX-License-Identifier: Apache-2.0
// Forward passes that keep nothing: validation, and the hidden states of a whole model.
#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "model/stage.hpp"

namespace model {

using namespace layers;
using tensor::Arena;

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
MicroLoss Stage<A>::evaluate(Context &ctx, Arena &visitors, const Weights<A> &w,
                             const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD) {
  Arena::Scope scope(ctx.arena);
  Arena &arena = ctx.arena;
  const Stream &stream = batch.main;
  const Index T = stream.samples * stream.rows, D = dims_.model;
  Mat<A> x = arena.template mat<A>(T, D), y = arena.template mat<A>(T, D);
  Mat<double> balance_BS =
      arena.template mat<double>(std::max<Index>(1, moe_blocks()), stream.samples);
  if (part_.embedding)
    embedding::forward(ctx, stream.token_T, w.embedding_WD, x);
  else
    Kokkos::deep_copy(ctx.exec, x, x_TD);
  for (Index i = part_.first; i < part_.last; ++i) {
    Arena::Scope block_scope(arena), visitors_scope(visitors);
    Balance b;
    if (!dims_.is_dense(i))
      b.balance_S = Vec<double>(balance_BS.data() + (i - dims_.dense_layers) * stream.samples,
                                stream.samples);
    auto saved = block::allocate<A>(arena, env(i), stream);
    if (saved.visitors) saved.visitors->keep = &visitors;
    block::forward(ctx, env(i), w.blocks[static_cast<std::size_t>(i)], stream, Mat<const A>(x), b,
                   saved, y);
    std::swap(x, y);
  }
  if (!part_.head) {
    Kokkos::deep_copy(ctx.exec, y_TD, x);
    return {};
  }
  Tape<A> tape;
  const Mat<A> n = y; // the block's output lies in x
  rms_norm::forward(ctx, Mat<const A>(x), w.final_norm_D, static_cast<float>(dims_.norm_eps), n,
                    rms_norm::allocate(arena, T));
  tape.lse_T = arena.template vec<float>(T), tape.loss_T = arena.template vec<float>(T);
  head_loss::forward(ctx, Mat<const A>(n), w.head_WD, stream.target_T, tape.lse_T, tape.loss_T);
  return read_losses(ctx, tape);
}

template <class A>
MicroLoss Stage<A>::forward(Context &ctx, const Weights<A> &w, const MicroBatch &batch) {
  Arena::Scope scope(ctx.arena);
  const Index T = batch.main.samples * batch.main.rows;
  Tape<A> tape;
  Mat<A> n = hidden(ctx, w, batch.main);
  tape.lse_T = ctx.arena.template vec<float>(T), tape.loss_T = ctx.arena.template vec<float>(T);
  head_loss::forward(ctx, Mat<const A>(n), w.head_WD, batch.main.target_T, tape.lse_T, tape.loss_T);
  return read_losses(ctx, tape);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template Mat<A> Stage<A>::hidden(Context &, const Weights<A> &, const Stream &);                 \
  template MicroLoss Stage<A>::evaluate(Context &, Arena &, const Weights<A> &,                    \
                                        const MicroBatch &, Mat<A>, Mat<A>);                       \
  template MicroLoss Stage<A>::forward(Context &, const Weights<A> &, const MicroBatch &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model

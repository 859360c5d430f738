// SPDX-License-Identifier: Apache-2.0
// Forward passes that keep nothing: validation, and the hidden states of a whole model.
#include "layers/embedding/embedding.hpp"
#include "layers/head_loss/head_loss.hpp"
#include "layers/reward_head/reward_head.hpp"
#include "model/objective_head.hpp"

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
Mat<A> Stage<A>::pass(Context &ctx, Arena &visitors, const Weights<A> &w, const Stream &stream,
                      Mat<A> x_TD, Mat<A> y_TD) const {
  Arena &arena = ctx.arena;
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
  rms_norm::forward(ctx, Mat<const A>(x), w.final_norm_D, static_cast<float>(dims_.norm_eps), y,
                    rms_norm::allocate(arena, T)); // the block's output lies in x
  return y;
}

template <class A>
MicroLoss Stage<A>::evaluate(Context &ctx, Arena &visitors, const Weights<A> &w,
                             const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD) {
  Arena::Scope scope(ctx.arena);
  const Mat<A> n = pass(ctx, visitors, w, batch.main, x_TD, y_TD);
  if (!part_.head) return {};
  Tape<A> tape;
  objective::evaluate(ctx, objective_, w, batch.main, Mat<const A>(n), tape);
  return read_losses(ctx, tape);
}

namespace {
template <class T> std::vector<T> to_host(Context &ctx, Vec<T> values) {
  const auto host = Kokkos::create_mirror_view(values);
  Kokkos::deep_copy(ctx.exec, host, values);
  tensor::fence(ctx, "model::stage::to_host"); // reason: the host reads them
  return {host.data(), host.data() + host.extent(0)};
}
} // namespace

template <class A>
typename Stage<A>::Rated Stage<A>::log_probabilities(Context &ctx, Arena &visitors,
                                                     const Weights<A> &w, const MicroBatch &batch,
                                                     Mat<A> x_TD, Mat<A> y_TD, bool entropy) {
  Arena::Scope scope(ctx.arena);
  const Mat<A> n = pass(ctx, visitors, w, batch.main, x_TD, y_TD);
  if (!part_.head) return {};
  const auto T = static_cast<Index>(n.extent(0));
  const auto lse_T = ctx.arena.template vec<float>(T), loss_T = ctx.arena.template vec<float>(T);
  const auto entropy_T = entropy ? ctx.arena.template vec<float>(T) : Vec<float>();
  head_loss::forward(ctx, Mat<const A>(n), w.head_WD, batch.main.target_T, lse_T, loss_T,
                     entropy_T);
  Rated rated{to_host(ctx, loss_T), entropy ? to_host(ctx, entropy_T) : std::vector<float>()};
  for (float &value : rated.logp_T) value = 0.0F - value; // no -0 where there is no target
  return rated;
}

template <class A>
std::vector<float> Stage<A>::rewards(Context &ctx, Arena &visitors, const Weights<A> &w,
                                     const MicroBatch &batch, Mat<A> x_TD, Mat<A> y_TD) {
  Arena::Scope scope(ctx.arena);
  const Mat<A> n = pass(ctx, visitors, w, batch.main, x_TD, y_TD);
  if (!part_.head) return {};
  HADAL_CHECK(w.reward_head_D.size() > 0, "the model has no reward head");
  const auto r_P =
      ctx.arena.template vec<float>(static_cast<Index>(batch.main.told.row_P.extent(0)));
  reward_head::forward(ctx, Mat<const A>(n), w.reward_head_D, batch.main.told.row_P, r_P);
  return to_host(ctx, r_P);
}

template <class A>
typename Stage<A>::Taught Stage<A>::teach(Context &ctx, Arena &visitors, const Weights<A> &w,
                                          const MicroBatch &batch, float temperature, Index K) {
  HADAL_CHECK(part_.embedding && part_.head, "a part of a model cannot teach");
  Arena::Scope scope(ctx.arena);
  const Mat<A> n = pass(ctx, visitors, w, batch.main, {}, {});
  const auto T = static_cast<Index>(n.extent(0));
  const auto id_TK = ctx.arena.template mat<std::int32_t>(T, K);
  const auto logp_TK = ctx.arena.template mat<float>(T, K);
  distil::most_likely(ctx, temperature, Mat<const A>(n), w.head_WD, id_TK, logp_TK);
  return {to_host(ctx, Vec<std::int32_t>(id_TK.data(), T * K)),
          to_host(ctx, Vec<float>(logp_TK.data(), T * K))};
}

template <class A>
MicroLoss Stage<A>::forward(Context &ctx, const Weights<A> &w, const MicroBatch &batch) {
  Arena::Scope scope(ctx.arena);
  Tape<A> tape;
  const Mat<A> n = hidden(ctx, w, batch.main);
  objective::evaluate(ctx, objective_, w, batch.main, Mat<const A>(n), tape);
  return read_losses(ctx, tape);
}

#define HADAL_INSTANTIATE(A)                                                                       \
  template Mat<A> Stage<A>::hidden(Context &, const Weights<A> &, const Stream &);                 \
  template MicroLoss Stage<A>::evaluate(Context &, Arena &, const Weights<A> &,                    \
                                        const MicroBatch &, Mat<A>, Mat<A>);                       \
  template Mat<A> Stage<A>::pass(Context &, Arena &, const Weights<A> &, const Stream &, Mat<A>,   \
                                 Mat<A>) const;                                                    \
  template typename Stage<A>::Rated Stage<A>::log_probabilities(                                   \
      Context &, Arena &, const Weights<A> &, const MicroBatch &, Mat<A>, Mat<A>, bool);           \
  template std::vector<float> Stage<A>::rewards(Context &, Arena &, const Weights<A> &,            \
                                                const MicroBatch &, Mat<A>, Mat<A>);               \
  template typename Stage<A>::Taught Stage<A>::teach(Context &, Arena &, const Weights<A> &,       \
                                                     const MicroBatch &, float, Index);            \
  template MicroLoss Stage<A>::forward(Context &, const Weights<A> &, const MicroBatch &);
HADAL_INSTANTIATE(float)
HADAL_INSTANTIATE(bf16)
#undef HADAL_INSTANTIATE

} // namespace model

// SPDX-License-Identifier: Apache-2.0
#pragma once
// One transformer block; its reverse is its forward read from the bottom, with the same numbers.
//   (1) h1 = norm1(x)   (2) a = mla(h1)   (3) r = x + a   (4) h2 = norm2(r)   (5) m = ffn(h2) or moe(h2)   (6) y = r + m
// moe(u) = combine of the routed experts' outputs, shared expert last.
// Saved: r, h1, h2 [T,D] and the layers' own; h1 and h2 may be left out (recompute.norms). x belongs to the caller.
//
// Both directions are told in phases (block_forward.hpp, block_backward.hpp), so that two micro-batches can take turns while the token
// copies of the other one travel between the ranks of an expert group.
#include <memory>

#include "arch/recompute.hpp"
#include "layers/dispatch/route.hpp"
#include "layers/router/router.hpp"
#include "model/batch.hpp"
#include "model/flights.hpp"
#include "model/parameters.hpp"

namespace model {

// Routed experts on the arrivals of all ranks of an expert group. Their number is known in the forward pass only, so that the memory is
// taken then, from the arena that holds the other saved fields.
template <class A> struct Visitors {
  tensor::Arena *keep = nullptr;
  std::unique_ptr<layers::dispatch::Route<A>> route;
  std::vector<layers::experts::Saved<A>> experts; // by source
};
template <class A> struct VisitorDeltas {
  tensor::Arena *keep = nullptr;
  Mat<A> dy_BD;
  std::vector<layers::experts::Deltas<A>> experts; // by source
  std::vector<layers::experts::Saved<A>> full;
};
template <class A> struct BlockSaved {
  bool dense = false;
  Mat<A> h1_TD, r_TD, h2_TD;
  layers::rms_norm::Saved norm1, norm2;
  layers::mla::Saved<A> mla;
  layers::ffn::Saved<A> ffn;
  layers::router::Saved router;
  layers::dispatch::Plan plan;
  layers::experts::Saved<A> experts;     // one rank
  std::shared_ptr<Visitors<A>> visitors; // an expert group
  layers::ffn::Saved<A> shared;
};
// Gradients that backward_input makes and backward_weight needs.
template <class A> struct BlockDeltas {
  Mat<A> dh1_TD, dr_TD, dh2_TD;
  layers::mla::Deltas<A> mla;
  layers::ffn::Deltas<A> ffn;
  layers::experts::Deltas<A> experts;
  std::shared_ptr<VisitorDeltas<A>> visitors;
  layers::ffn::Deltas<A> shared;
  Mat<float> dl_TE;
};

// What a block needs to know beside its weights and arrays.
struct BlockEnv {
  const arch::Dims &dims;
  arch::Recompute recompute;
  const layers::rope::Table &rope;
  Index layer = 0;
  layers::dispatch::Group group = {}; // group.ep null: all experts are here
  Flights *flights = nullptr; // null: messages are waited for where they are needed, not polled
  long micro_batch = -1;      // in spans

  Label label(const char *name) const { return {name, micro_batch, static_cast<long>(layer)}; }
};
// Router by-products: load_E empty in forwards that must not count; balance_S receives the balance loss of each sample.
struct Balance {
  double alpha = 0;
  double scale = 1; // what multiplies the mean balance loss of the micro-batch in the total loss
  Vec<std::int64_t> load_E;
  Vec<double> balance_S;
};

namespace block {

template <class A>
BlockSaved<A> allocate(tensor::Arena &arena, const BlockEnv &env, const Stream &stream);
template <class A>
BlockDeltas<A> allocate_deltas(tensor::Arena &arena, const BlockEnv &env, const Stream &stream);
template <class A>
BlockSaved<A> refill(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                     const Stream &stream, Mat<const A> x_TD, const BlockSaved<A> &saved);

// --- whole, for callers with nothing to do meanwhile; ctx.arena holds what goes from phase to phase ---

template <class A>
void forward(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w, const Stream &stream,
             Mat<const A> x_TD, const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD);
// Steps (3) .. (6) of forward, given the attention's output a_TD: generating replaces (2).
template <class A>
void after_attention(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                     const Stream &stream, Mat<const A> x_TD, Mat<const A> a_TD,
                     const Balance &balance, const BlockSaved<A> &saved, Mat<A> y_TD);
// full: refilled. dx_TD may not be dy_TD.
template <class A>
void backward_input(Context &ctx, const BlockEnv &env, const BlockWeights<A> &w,
                    const Stream &stream, Mat<const A> dy_TD, Mat<const A> x_TD,
                    const Balance &balance, const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                    Mat<A> dx_TD);
template <class A>
void backward_weight(Context &ctx, const BlockEnv &env, Mat<const A> dy_TD, Mat<const A> x_TD,
                     const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                     const BlockGrads &acc);

} // namespace block
} // namespace model

// SPDX-License-Identifier: Apache-2.0
#pragma once
// A block's backward pass in phases. The reverse of a combine is a dispatch (of dy), that of a dispatch a combine (of dx).
//   open               the combine's reverse leaves
//   mlp                shared expert; it lands; experts, input gradients; the dispatch's reverse leaves
//   mlp_weight         weight gradients of the experts
//   attention          the dispatch's reverse lands; router, (4) - (1), input gradients: dx
//   attention_weight   weight gradients of the rest
// Between open and mlp the caller refills what was not kept. What goes from phase to phase lies in ctx.arena: the caller opens a scope
// before open() and ends it after attention(). What the weight gradients need lies where deltas and full do (`rest`).
#include "model/block.hpp"

namespace model::block {

template <class A> struct Backward {
  BlockEnv env;
  const BlockWeights<A> &w;
  const Stream &stream;
  Mat<const A> dy_TD, x_TD;
  Balance balance;
  BlockSaved<A> full; // refilled before mlp()
  BlockDeltas<A> deltas;
  Mat<A> dx_TD;
  // From phase to phase.
  Mat<A> ds_TD; // shared expert
  Mat<A> dx_AD; // one rank
  Mat<float> dweight_TK;
  std::unique_ptr<layers::dispatch::Flight> flight = nullptr;
};

template <class A> void open(Context &ctx, Backward<A> &b);
template <class A> void mlp(Context &ctx, Backward<A> &b);
template <class A> void attention(Context &ctx, Backward<A> &b);

// What they need stands once mlp() and attention() are done.
template <class A>
void mlp_weight(Context &ctx, const BlockEnv &env, Mat<const A> dy_TD, const BlockSaved<A> &full,
                const BlockDeltas<A> &deltas, const BlockGrads &acc);
template <class A>
void attention_weight(Context &ctx, const BlockEnv &env, Mat<const A> x_TD,
                      const BlockSaved<A> &full, const BlockDeltas<A> &deltas,
                      const BlockGrads &acc);

} // namespace model::block

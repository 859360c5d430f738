// SPDX-License-Identifier: Apache-2.0
#pragma once
// A block's forward pass in three phases, with messages under way between them (where there is an expert group):
//   attention   (1) - (4), router; the dispatch leaves
//   mlp         shared expert; the dispatch lands; experts; the combine leaves
//   close       the combine lands; the sum over expert groups, (6)
// What goes from phase to phase lies in ctx.arena: the caller opens a scope before attention() and ends it after close().
#include "model/block.hpp"

namespace model::block {

template <class A> struct Forward {
  BlockEnv env;
  const BlockWeights<A> &w;
  const Stream &stream;
  Mat<const A> x_TD;
  Balance balance;
  BlockSaved<A> saved;
  Mat<A> y_TD;
  // From phase to phase.
  Mat<A> h2_TD, s_TD; // s: shared expert, or all of a dense layer
  Mat<A> y_AD;        // one rank
  std::unique_ptr<layers::dispatch::Flight> flight = nullptr;
};

template <class A> void attention(Context &ctx, Forward<A> &f);
template <class A> void after_attention(Context &ctx, Forward<A> &f, Mat<const A> a_TD); // (3), (4)
template <class A> void mlp(Context &ctx, Forward<A> &f);
template <class A> void close(Context &ctx, Forward<A> &f);

} // namespace model::block

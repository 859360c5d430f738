// SPDX-License-Identifier: Apache-2.0
#pragma once
// The two bodies of attention. Same mathematics (attention.hpp), same blocks of keys:
//   tiles   host: FP32 tiles per thread, products of tiles; a task is (query block, head) forward, (segment, head) backward
//   rows    anywhere: one team per row and head; what a device runs, and a second opinion for the tests
#include "layers/attention/attention.hpp"

namespace layers::attention {

template <class A> struct Inputs {
  Cube<const A> q_THM, kv_THX;
  Mat<const A> k_rope_TR;
  Segments segments;
  Index nope;
  float scale;

  Index tokens() const { return q_THM.extent(0); }
  Index heads() const { return q_THM.extent(1); }
  Index head_dim() const { return q_THM.extent(2); }      // M = N + R
  Index value() const { return kv_THX.extent(2) - nope; } // V
  Index rope() const { return k_rope_TR.extent(1); }      // R
};
// What the reverse pass is given, and what it makes.
template <class A> struct Reverse {
  Cube<const A> do_THV, o_THV;
  Mat<const float> lse_TH;
  Cube<A> dq_THM, dkv_THX;
  Cube<float> dk_rope_THR; // per head, summed over the heads by the caller
};

namespace tiles {
inline constexpr bool kAvailable =
    std::is_same_v<tensor::Row, tensor::HostRow>; // does nothing elsewhere
template <class A>
void forward(Context &ctx, const Inputs<A> &in, Cube<A> o_THV, Mat<float> lse_TH);
template <class A> void backward(Context &ctx, const Inputs<A> &in, const Reverse<A> &reverse);
// Arena bytes of each at most.
std::size_t forward_bytes(Index tokens, Index head_dim, Index value);
std::size_t backward_bytes(Index tokens, Index longest, Index head_dim, Index value);
} // namespace tiles

namespace rows {
template <class A>
void forward(Context &ctx, const Inputs<A> &in, Cube<A> o_THV, Mat<float> lse_TH);
template <class A> void backward(Context &ctx, const Inputs<A> &in, const Reverse<A> &reverse);
} // namespace rows

} // namespace layers::attention

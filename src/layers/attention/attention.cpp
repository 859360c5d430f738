// SPDX-License-Identifier: Apache-2.0
#include "layers/attention/attention.hpp"

#include <algorithm>

#include "layers/attention/bodies.hpp"

namespace layers::attention {

namespace {

template <class A>
Inputs<A> checked(const Cube<const A> &q_THM, const Cube<const A> &kv_THX,
                  const Mat<const A> &k_rope_TR, const Segments &segments, const Index nope,
                  const float scale) {
  const Inputs<A> in{q_THM, kv_THX, k_rope_TR, segments, nope, scale};
  HADAL_CHECK(
      in.head_dim() == nope + in.rope() && in.value() > 0 && kv_THX.extent(1) == q_THM.extent(1),
      "head dim {} of {} + {}, {} value columns", in.head_dim(), nope, in.rope(), in.value());
  HADAL_CHECK(segments.rows() == in.tokens() &&
                  static_cast<Index>(kv_THX.extent(0)) == in.tokens() &&
                  static_cast<Index>(k_rope_TR.extent(0)) == in.tokens(),
              "{} rows of queries, {} of positions, {} of keys", in.tokens(), segments.rows(),
              kv_THX.extent(0));
  return in;
}

// Pairs (query, key <= query) of one head.
double pairs(const Segments &segments) {
  double sum = 0;
  for (Index s = 0; s < segments.count(); ++s) {
    const double rows = static_cast<double>(segments.start_host(s + 1) - segments.start_host(s));
    sum += rows * (rows + 1) / 2;
  }
  return sum;
}

// dk_rope[j] = sum over the heads, in order.
template <class A>
void sum_heads(Context &ctx, const Cube<const float> part_THR, const Mat<A> dk_rope_TR) {
  const Index tokens = part_THR.extent(0), heads = part_THR.extent(1), rope = part_THR.extent(2);
  ctx.count("layers::attention::sum_heads", static_cast<double>(part_THR.size()),
            sizeof(float) * static_cast<double>(part_THR.size()));
  tensor::for_rows(
      ctx, "layers::attention::sum_heads", tokens,
      KOKKOS_LAMBDA(const tensor::Row &row, const Index t) {
        const float *part = &part_THR(t, 0, 0);
        A *to = &dk_rope_TR(t, 0);
        tensor::row_for(row, rope, [=](const Index i) {
          float sum = 0;
          for (Index h = 0; h < heads; ++h) sum += part[h * rope + i];
          to[i] = A(sum);
        });
      });
}

} // namespace

double forward_flops(const Segments &segments, const Index heads, const Index head_dim,
                     const Index value) {
  return 2.0 * pairs(segments) * static_cast<double>(heads * (head_dim + value));
}

double backward_flops(const Segments &segments, const Index heads, const Index head_dim,
                      const Index value) {
  return 2.0 * pairs(segments) * static_cast<double>(heads * (3 * head_dim + 2 * value));
}

std::size_t scratch_bytes(const Index tokens, const Index longest, const Index heads,
                          const Index nope, const Index rope, const Index value) {
  const std::size_t parts = tensor::Arena::padded(tokens * heads * rope * sizeof(float)),
                    delta = tensor::Arena::padded(tokens * heads * sizeof(float));
  if (!tiles::kAvailable) return parts + delta;
  return std::max(tiles::forward_bytes(tokens, nope + rope, value),
                  parts + tiles::backward_bytes(tokens, longest, nope + rope, value));
}

template <class A>
void forward(Context &ctx, const Cube<const A> q_THM, const Cube<const A> kv_THX,
             const Mat<const A> k_rope_TR, const Segments &segments, const Index nope,
             const float scale, const Cube<A> o_THV, const Mat<float> lse_TH) {
  const Inputs<A> in = checked<A>(q_THM, kv_THX, k_rope_TR, segments, nope, scale);
  if (ctx.counter) {
    const double bytes = static_cast<double>(
        sizeof(A) * (q_THM.size() + kv_THX.size() + k_rope_TR.size() + o_THV.size()) +
        sizeof(float) * lse_TH.size());
    ctx.count("layers::attention::forward",
              forward_flops(segments, in.heads(), in.head_dim(), in.value()), bytes);
  }
  if constexpr (tiles::kAvailable) {
    tiles::forward(ctx, in, o_THV, lse_TH);
  } else {
    rows::forward(ctx, in, o_THV, lse_TH);
  }
}

template <class A>
void backward(Context &ctx, const Cube<const A> do_THV, const Cube<const A> q_THM,
              const Cube<const A> kv_THX, const Mat<const A> k_rope_TR, const Cube<const A> o_THV,
              const Mat<const float> lse_TH, const Segments &segments, const Index nope,
              const float scale, const Cube<A> dq_THM, const Cube<A> dkv_THX,
              const Mat<A> dk_rope_TR) {
  const Inputs<A> in = checked<A>(q_THM, kv_THX, k_rope_TR, segments, nope, scale);
  if (ctx.counter) {
    const double bytes =
        static_cast<double>(2 * sizeof(A) * (q_THM.size() + kv_THX.size() + o_THV.size()));
    ctx.count("layers::attention::backward",
              backward_flops(segments, in.heads(), in.head_dim(), in.value()), bytes);
  }
  const tensor::Arena::Scope scope(ctx.arena);
  const Cube<float> part_THR = ctx.arena.cube<float>(in.tokens(), in.heads(), in.rope());
  const Reverse<A> reverse{do_THV, o_THV, lse_TH, dq_THM, dkv_THX, part_THR};
  if constexpr (tiles::kAvailable) {
    tiles::backward(ctx, in, reverse);
  } else {
    rows::backward(ctx, in, reverse);
  }
  sum_heads<A>(ctx, part_THR, dk_rope_TR);
}

template void forward(Context &, Cube<const float>, Cube<const float>, Mat<const float>,
                      const Segments &, Index, float, Cube<float>, Mat<float>);
template void forward(Context &, Cube<const bf16>, Cube<const bf16>, Mat<const bf16>,
                      const Segments &, Index, float, Cube<bf16>, Mat<float>);
template void backward(Context &, Cube<const float>, Cube<const float>, Cube<const float>,
                       Mat<const float>, Cube<const float>, Mat<const float>, const Segments &,
                       Index, float, Cube<float>, Cube<float>, Mat<float>);
template void backward(Context &, Cube<const bf16>, Cube<const bf16>, Cube<const bf16>,
                       Mat<const bf16>, Cube<const bf16>, Mat<const float>, const Segments &, Index,
                       float, Cube<bf16>, Cube<bf16>, Mat<bf16>);

} // namespace layers::attention

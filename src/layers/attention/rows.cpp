// SPDX-License-Identifier: Apache-2.0
// Attention with one team per row and head. Scratch is the team's: a block of scores and the row's result.
#include "layers/attention/bodies.hpp"
#include "numerics/exp.hpp"

namespace layers::attention::rows {

namespace {

using Policy = Kokkos::TeamPolicy<tensor::Exec>;
using Team = Policy::member_type;

Policy policy(const Context &ctx, const Index league, const Index scratch_floats) {
  const int bytes = static_cast<int>(scratch_floats * static_cast<Index>(sizeof(float)));
  return Policy(ctx.exec, static_cast<int>(league), Kokkos::AUTO)
      .set_scratch_size(0, Kokkos::PerTeam(bytes + 16));
}
KOKKOS_INLINE_FUNCTION float *take(const Team &team, const Index floats) {
  return static_cast<float *>(
      team.team_shmem().get_shmem(static_cast<int>(floats * static_cast<Index>(sizeof(float)))));
}

// One head as plain pointers with strides: what a row of the score matrix needs.
template <class A> struct Head {
  const A *q, *kv, *k_rope;
  Index q_stride, kv_stride, nope, rope, value;
  float scale;
  KOKKOS_FUNCTION Head(const Inputs<A> &in, const Index h)
      : q(in.q_THM.data() + h * in.q_THM.extent(2)), kv(in.kv_THX.data() + h * in.kv_THX.extent(2)),
        k_rope(in.k_rope_TR.data()), q_stride(in.q_THM.extent(1) * in.q_THM.extent(2)),
        kv_stride(in.kv_THX.extent(1) * in.kv_THX.extent(2)), nope(in.nope),
        rope(in.k_rope_TR.extent(1)), value(in.kv_THX.extent(2) - in.nope), scale(in.scale) {}
  KOKKOS_FUNCTION float key(const Index j, const Index i) const {
    return i < nope ? static_cast<float>(kv[j * kv_stride + i])
                    : static_cast<float>(k_rope[j * rope + i - nope]);
  }
  KOKKOS_FUNCTION float query(const Index t, const Index i) const {
    return scale * static_cast<float>(q[t * q_stride + i]);
  }
  KOKKOS_FUNCTION float score(const Index t, const Index j) const { // (1)
    float s = 0;
    for (Index i = 0; i < nope + rope; ++i) s = fmaf(query(t, i), key(j, i), s);
    return s;
  }
  KOKKOS_FUNCTION float v(const Index j, const Index i) const {
    return static_cast<float>(kv[j * kv_stride + nope + i]);
  }
  KOKKOS_FUNCTION float value_product(const A *d_o, const Index j) const { // do . v[j]
    float s = 0;
    for (Index i = 0; i < value; ++i) s = fmaf(static_cast<float>(d_o[i]), v(j, i), s);
    return s;
  }
};

KOKKOS_INLINE_FUNCTION Index smaller(const Index a, const Index b) { return a < b ? a : b; }

} // namespace

template <class A>
void forward(Context &ctx, const Inputs<A> &in, const Cube<A> o_THV, const Mat<float> lse_TH) {
  const Index heads = in.heads(), value = in.value();
  const Vec<const std::int32_t> position_T = in.segments.position_T;
  Kokkos::parallel_for(
      "layers::attention::rows::forward", policy(ctx, in.tokens() * heads, kKeyBlock + value),
      KOKKOS_LAMBDA(const Team &team) {
        const Index t = team.league_rank() / heads, h = team.league_rank() % heads;
        const Head<A> head(in, h);
        float *s = take(team, kKeyBlock + value), *o = s + kKeyBlock;
        float maximum = -HUGE_VALF, total = 0;
        tensor::row_for(team, value, [=](const Index i) { o[i] = 0; });
        for (Index j0 = t - position_T(t); j0 <= t; j0 += kKeyBlock) {
          const Index keys = smaller(kKeyBlock, t - j0 + 1);
          tensor::row_for(team, keys, [=](const Index j) { s[j] = head.score(t, j0 + j); });
          const float block_best = tensor::row_max(team, keys, [=](const Index j) { return s[j]; });
          const float best = block_best > maximum ? block_best : maximum;
          const float factor = numerics::fast_exp(maximum - best);
          tensor::row_for(team, keys,
                          [=](const Index j) { s[j] = numerics::fast_exp(s[j] - best); }); // (2)
          total =
              fmaf(total, factor, tensor::row_sum(team, keys, [=](const Index j) { return s[j]; }));
          maximum = best;
          tensor::row_for(team, value, [=](const Index i) { // (3)
            float sum = 0;
            for (Index j = 0; j < keys; ++j) sum = fmaf(s[j], head.v(j0 + j, i), sum);
            o[i] = fmaf(o[i], factor, sum);
          });
        }
        tensor::row_for(team, value, [=](const Index i) { o_THV(t, h, i) = A(o[i] / total); });
        tensor::row_once(team, [=] { lse_TH(t, h) = maximum + logf(total); });
      });
  ctx.poll();
}

namespace {

// dq, and delta for the keys' kernel.
template <class A>
void backward_queries(Context &ctx, const Inputs<A> &in, const Reverse<A> &r,
                      const Mat<float> delta_TH) {
  const Index heads = in.heads(), dim = in.head_dim(), value = in.value();
  const Vec<const std::int32_t> position_T = in.segments.position_T;
  Kokkos::parallel_for(
      "layers::attention::rows::backward_queries",
      policy(ctx, in.tokens() * heads, kKeyBlock + dim), KOKKOS_LAMBDA(const Team &team) {
        const Index t = team.league_rank() / heads, h = team.league_rank() % heads;
        const Head<A> head(in, h);
        const A *d_o = &r.do_THV(t, h, 0), *o = &r.o_THV(t, h, 0);
        float *ds = take(team, kKeyBlock + dim), *dq = ds + kKeyBlock;
        const float lse = r.lse_TH(t, h);
        const float delta = tensor::row_sum(team, value, [=](const Index i) {
          return static_cast<float>(d_o[i]) * static_cast<float>(o[i]);
        });
        tensor::row_once(team, [=] { delta_TH(t, h) = delta; });
        tensor::row_for(team, dim, [=](const Index i) { dq[i] = 0; });
        for (Index j0 = t - position_T(t); j0 <= t; j0 += kKeyBlock) {
          const Index keys = smaller(kKeyBlock, t - j0 + 1);
          tensor::row_for(team, keys, [=](const Index j) { // (2')
            ds[j] = numerics::fast_exp(head.score(t, j0 + j) - lse) *
                    (head.value_product(d_o, j0 + j) - delta);
          });
          tensor::row_for(team, dim, [=](const Index i) { // (1')
            float sum = dq[i];
            for (Index j = 0; j < keys; ++j) sum = fmaf(ds[j], head.key(j0 + j, i), sum);
            dq[i] = sum;
          });
        }
        tensor::row_for(team, dim,
                        [=](const Index i) { r.dq_THM(t, h, i) = A(head.scale * dq[i]); });
      });
  ctx.poll();
}

// dk and dv of one key and head, over the later rows of its segment. Row t is in the segment of j when both differ by as
// much in position as in place.
template <class A>
void backward_keys(Context &ctx, const Inputs<A> &in, const Reverse<A> &r,
                   const Mat<float> delta_TH) {
  const Index heads = in.heads(), dim = in.head_dim(), value = in.value(), tokens = in.tokens(),
              nope = in.nope;
  const Vec<const std::int32_t> position_T = in.segments.position_T;
  Kokkos::parallel_for(
      "layers::attention::rows::backward_keys",
      policy(ctx, tokens * heads, 2 * kKeyBlock + dim + value), KOKKOS_LAMBDA(const Team &team) {
        const Index j = team.league_rank() / heads, h = team.league_rank() % heads;
        const Head<A> head(in, h);
        float *p = take(team, 2 * kKeyBlock + dim + value), *ds = p + kKeyBlock,
              *dk = ds + kKeyBlock, *dv = dk + dim;
        tensor::row_for(team, dim + value, [=](const Index i) { dk[i] = 0; });
        for (Index t0 = j; t0 < tokens && position_T(t0) - position_T(j) == t0 - j;
             t0 += kKeyBlock) {
          const Index queries = smaller(kKeyBlock, tokens - t0);
          tensor::row_for(team, queries, [=](const Index q) { // (2')
            const Index t = t0 + q;
            const bool seen = position_T(t) - position_T(j) == t - j;
            p[q] = seen ? numerics::fast_exp(head.score(t, j) - r.lse_TH(t, h)) : 0.0F;
            ds[q] =
                seen ? p[q] * (head.value_product(&r.do_THV(t, h, 0), j) - delta_TH(t, h)) : 0.0F;
          });
          tensor::row_for(team, dim, [=](const Index i) { // (1')
            for (Index q = 0; q < queries; ++q) dk[i] = fmaf(ds[q], head.query(t0 + q, i), dk[i]);
          });
          tensor::row_for(team, value, [=](const Index i) { // (3')
            for (Index q = 0; q < queries; ++q)
              dv[i] = fmaf(p[q], static_cast<float>(r.do_THV(t0 + q, h, i)), dv[i]);
          });
        }
        tensor::row_for(team, dim, [=](const Index i) {
          if (i < nope) r.dkv_THX(j, h, i) = A(dk[i]);
          if (i >= nope) r.dk_rope_THR(j, h, i - nope) = dk[i];
        });
        tensor::row_for(team, value, [=](const Index i) { r.dkv_THX(j, h, nope + i) = A(dv[i]); });
      });
  ctx.poll();
}

} // namespace

template <class A> void backward(Context &ctx, const Inputs<A> &in, const Reverse<A> &reverse) {
  const tensor::Arena::Scope scope(ctx.arena);
  const Mat<float> delta_TH = ctx.arena.mat<float>(in.tokens(), in.heads());
  backward_queries(ctx, in, reverse, delta_TH);
  backward_keys(ctx, in, reverse, delta_TH);
}

template void forward(Context &, const Inputs<float> &, Cube<float>, Mat<float>);
template void forward(Context &, const Inputs<bf16> &, Cube<bf16>, Mat<float>);
template void backward(Context &, const Inputs<float> &, const Reverse<float> &);
template void backward(Context &, const Inputs<bf16> &, const Reverse<bf16> &);

} // namespace layers::attention::rows
